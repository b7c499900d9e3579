import FoundationEssentials
import Glibc

extension ProcessFacts {
    /// Reads `/proc`; nothing when there is no such process.
    init?(processID: Int32) {
        guard processID > 0, let stat = Self.read("/proc/\(processID)/stat") else { return nil }
        self.init(
            stat: stat, commandLine: Self.read("/proc/\(processID)/cmdline") ?? "",
            workingDirectory: try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(processID)/cwd"))
    }

    private static func read(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return (try? FileDescriptor.readAll(descriptor)).map { String(decoding: $0, as: UTF8.self) }
    }
}
