import ArgumentParser
import Glibc

/// A password the operator chose. Never an argument, which the whole machine could read.
struct PasswordOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("Take the password from the first line of a file instead of making one.", valueName: "file"),
        completion: .file())
    var passwordFile: String?

    @Flag(name: .long, help: "Take the password from the first line of standard input instead of making one.")
    var passwordStdin = false

    func validate() throws {
        if self.passwordFile != nil && self.passwordStdin {
            throw ValidationError("--password-file and --password-stdin exclude each other")
        }
    }

    var isSupplied: Bool { self.passwordFile != nil || self.passwordStdin }

    /// The chosen password; nothing when one is to be made.
    func read() throws -> String? {
        if self.passwordStdin { return try Self.firstLine(of: STDIN_FILENO, "standard input") }
        guard let path = self.passwordFile else { return nil }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandError.system("can't read \(path)", errno) }
        defer { close(descriptor) }
        return try Self.firstLine(of: descriptor, path)
    }

    private static func firstLine(of descriptor: CInt, _ name: String) throws -> String {
        let bytes = try FileDescriptor.readAll(descriptor, limit: 1 << 16)
        let line = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        guard let password = String(validating: line, as: UTF8.self), !password.isEmpty else {
            throw CommandError(.usage, "\(name) holds no password in its first line")
        }
        return password
    }
}
