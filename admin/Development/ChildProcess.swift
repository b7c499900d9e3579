import FoundationEssentials
import Glibc

/// One program started by posix_spawn: none of our descriptors, no terminal signals, a small environment.
struct ChildProcess: Sendable {
    let processID: Int32

    /// Starts `command`; its first element is looked up in the `PATH` unless it is a path.
    ///
    /// - Parameters:
    ///   - input: a descriptor to read from; nothing is `/dev/null`.
    ///   - output: the file that standard output and standard error are appended to.
    static func start(
        _ command: [String], environment: [String: String], input: CInt? = nil, output: CInt
    ) throws -> ChildProcess {
        Self.keepDescriptorsToOurselves()
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let input {
            unsafe posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
        } else {
            unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        }
        unsafe posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        unsafe posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigfillset(&signals)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        // The flag of a session of its own (so that the terminal's Ctrl-C stays with us) is not in Swift's Glibc module.
        let newSession: CInt = 0x80
        // can't trap: two small constants
        let flags = newSession | CInt(POSIX_SPAWN_SETSIGMASK) | CInt(POSIX_SPAWN_SETSIGDEF)
        unsafe posix_spawnattr_setflags(&attributes, Int16(truncatingIfNeeded: flags))

        var processID: pid_t = 0
        let program = command.first ?? ""
        let code = unsafe Self.withCStrings(command) { arguments in
            unsafe Self.withCStrings(environment.map { "\($0.key)=\($0.value)" }) { variables in
                unsafe posix_spawnp(&processID, program, &actions, &attributes, arguments, variables)
            }
        }
        guard code == 0 else { throw CommandError.system("can't start \(program)", code) }
        return ChildProcess(processID: processID)
    }

    /// Runs `command` to its end, with `input` on its standard input and its output in the file at `log`.
    ///
    /// Cancellation ends the program before this throws.
    static func run(
        _ command: [String], environment: [String: String], input: String? = nil, log: String
    ) async throws -> (status: Int32, output: String) {
        let output = unsafe open(log, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard output >= 0 else { throw CommandError.system("can't write \(log)", errno) }
        defer { close(output) }
        let reading = try input.map { try PrivateFile.unnamed(holding: $0, beside: log) }
        defer { if let reading { close(reading) } }
        let child = try self.start(command, environment: environment, input: reading, output: output)
        let status: Int32
        do {
            while true {
                if let ended = child.exitStatus() {
                    status = ended
                    break
                }
                try await Task.sleep(for: .milliseconds(5))
            }
        } catch {
            // The wait below must go on although this task is cancelled, hence a task of its own, awaited at once.
            kill(child.processID, SIGTERM)
            await Task {
                while child.exitStatus() == nil { try? await Task.sleep(for: .milliseconds(5)) }
            }.value
            throw error
        }
        lseek(output, 0, SEEK_SET)
        return (status, String(decoding: try FileDescriptor.readAll(output), as: UTF8.self))
    }

    /// The exit status (128 + n after signal n) once the program has ended, else nothing. Collects it, so ask no more
    /// after an answer; a program that is no child of ours gives 127.
    func exitStatus() -> Int32? {
        var status: CInt = 0
        while true {
            let result = unsafe waitpid(self.processID, &status, WNOHANG)
            if result == 0 { return nil }
            if result == self.processID {
                let signal = status & 0x7f
                return signal == 0 ? (status >> 8) & 0xff : 128 + signal
            }
            if errno != EINTR { return 127 }
        }
    }

    /// What the server's programs get of our environment: nothing of ours that could point them at another cluster.
    static func environment(for binaries: PostgresBinaries, inheriting all: [String: String]) -> [String: String] {
        var result = ["PATH": all["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]
        result["TZ"] = all["TZ"]
        var libraries = all["LD_LIBRARY_PATH"].map { [$0] } ?? []
        // An installation outside the system's directories may bring libraries that only its own tools know.
        if !binaries.directory.hasPrefix("/usr/") {
            libraries.append(ServerLayout.absolute(binaries.directory + "/../lib", in: "/"))
        }
        if !libraries.isEmpty { result["LD_LIBRARY_PATH"] = libraries.joined(separator: ":") }
        return result
    }

    /// Marks every descriptor but the first three as ours alone: a server would otherwise hold, for as long as it runs,
    /// the locks and pipes that a calling script left open.
    private static func keepDescriptorsToOurselves() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        for descriptor in names.compactMap({ CInt($0, radix: 10) }) where descriptor > STDERR_FILENO {
            let flags = fcntl(descriptor, F_GETFD)
            if flags >= 0 { _ = fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) }
        }
    }

    private static func withCStrings<R>(
        _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
    ) -> R {
        var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
        defer { unsafe pointers.forEach { unsafe free($0) } }
        return unsafe body(&pointers)
    }
}
