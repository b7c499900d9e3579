import Glibc
import Synchronization

/// Where a command talks: data to standard output, all else to standard error.
struct Console: Sendable {
    var standardInputIsTerminal: Bool
    var standardOutputIsTerminal: Bool
    private let writeData: @Sendable (String) -> Void
    private let writeNote: @Sendable (String) -> Void
    private let readAnswer: @Sendable () -> String?
    private let written = Written()

    /// Whether anything was written to standard output yet.
    private final class Written: Sendable {
        let value = Atomic(false)
    }

    init(
        standardInputIsTerminal: Bool, standardOutputIsTerminal: Bool,
        writeData: @escaping @Sendable (String) -> Void, writeNote: @escaping @Sendable (String) -> Void,
        readAnswer: @escaping @Sendable () -> String? = { nil }
    ) {
        self.standardInputIsTerminal = standardInputIsTerminal
        self.standardOutputIsTerminal = standardOutputIsTerminal
        self.writeData = writeData
        self.writeNote = writeNote
        self.readAnswer = readAnswer
    }

    /// The console of the command under way: the process's own three descriptors, unless a test has handed one that collects to
    /// ``CommandRunner``.
    @TaskLocal static var system = Console(
        standardInputIsTerminal: isatty(STDIN_FILENO) == 1,
        standardOutputIsTerminal: isatty(STDOUT_FILENO) == 1,
        writeData: { try? FileDescriptor.write($0, to: STDOUT_FILENO) },
        writeNote: { try? FileDescriptor.write($0, to: STDERR_FILENO) },
        readAnswer: { readLine(strippingNewline: true) }
    )

    /// Writes data, whole, to standard output; an answer is never cut in half by an interruption.
    func data(_ text: String) {
        if !text.isEmpty { self.written.value.store(true, ordering: .relaxed) }
        self.writeData(text.hasSuffix("\n") || text.isEmpty ? text : text + "\n")
    }

    /// Whether the command has given an answer, or the beginning of one.
    var hasAnswer: Bool { self.written.value.load(ordering: .relaxed) }

    /// Writes one remark to standard error.
    func note(_ text: String) {
        self.writeNote(text + "\n")
    }

    /// Asks on standard error and reads one line.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/usage`` naming `flag` when nobody sits at the terminal.
    func ask(_ question: String, orPass flag: String) throws -> String {
        guard self.standardInputIsTerminal else {
            throw CommandError(.usage, "not a terminal, so nobody can be asked: pass \(flag)")
        }
        self.writeNote(question + " ")
        return self.readAnswer() ?? ""
    }
}

/// Whole writes and reads on a raw descriptor.
enum FileDescriptor {
    static func write(_ text: String, to descriptor: CInt) throws {
        try self.write(Array(text.utf8), to: descriptor)
    }

    static func write(_ bytes: [UInt8], to descriptor: CInt) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
            }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw CommandError.system("can't write", errno)
            }
        }
    }

    /// Reads to the end, at most `limit` bytes.
    static func readAll(_ descriptor: CInt, limit: Int = 1 << 20) throws -> [UInt8] {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while result.count < limit {
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            }
            if count > 0 {
                result.append(contentsOf: chunk[..<count])
            } else if count == 0 {
                break
            } else if errno != EINTR {
                throw CommandError.system("can't read", errno)
            }
        }
        return result
    }
}

extension CommandError {
    /// A system call's failure in words.
    static func system(_ what: String, _ code: CInt) -> CommandError {
        let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        return CommandError(code == EACCES || code == EPERM ? .privileges : .failed, "\(what): \(reason)")
    }
}
