import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import cloacina_admin

/// A disk so small that a test can fill it: memory, mounted where a private server will live.
final class SmallDisk: Sendable {
    @TaskLocal static var current: SmallDisk?

    static let megabytes = 256

    private let mounted = Mutex<String?>(nil)

    /// Mounts it at a directory that isn't there yet.
    func mount(at path: String) async throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        let options = "size=\(Self.megabytes)m,mode=0755"
        let answer = try await Self.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path])
        try #require(answer.status == 0, "\(answer.output)")
        self.mounted.withLock { $0 = path }
    }

    /// Takes every byte that is left.
    func fill() async throws {
        let answer = try await Self.run(["dd", "if=/dev/zero", "of=\(try self.filler)", "bs=64k"])
        try #require(answer.status == 1 && answer.output.contains("No space left"), "\(answer.output)")
    }

    /// Gives them back.
    func free() throws { try FileManager.default.removeItem(atPath: try self.filler) }

    private var filler: String {
        get throws { try #require(self.mounted.withLock { $0 }) + "/filler" }
    }

    fileprivate func unmount() async throws {
        guard let path = self.mounted.withLock({ $0.take() }) else { return }
        let answer = try await Self.run(["umount", path])
        try #require(answer.status == 0, "\(answer.output)")
        // The private server couldn't remove it while it was a disk.
        try FileManager.default.removeItem(atPath: String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
    }

    /// Whether this process may mount one.
    static func isPossible() async -> Bool {
        guard geteuid() == 0 else { return false }
        let path = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("disk")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let disk = SmallDisk()
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            try await disk.mount(at: path + "/disk")
            try await disk.unmount()
            return true
        } catch {
            return false
        }
    }

    private static func run(_ command: [String]) async throws -> (status: Int32, output: String) {
        let log = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("disk") + ".log"
        defer { try? FileManager.default.removeItem(atPath: log) }
        return try await ChildProcess.run(
            command, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"], log: log)
    }
}

/// Takes the disk away when the suite, and the server on it, have ended. To be named before the server.
struct SmallDiskTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        let disk = SmallDisk()
        let result: Result<Void, any Error>
        do {
            try await SmallDisk.$current.withValue(disk, operation: function)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try await disk.unmount()
        try result.get()
    }
}

extension Trait where Self == SmallDiskTrait {
    static var smallDisk: Self { Self() }
}
