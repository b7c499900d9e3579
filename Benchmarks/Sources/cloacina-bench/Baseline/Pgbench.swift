import Foundation
import Glibc

/// Runs pgbench with a script of ours.
struct Pgbench: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    var target: Target
    var script: String
    var clients = 1
    var threads = 1
    /// The path that the sessions begin with; pgbench prepares the whole script before it runs any of it.
    var searchPath: String?

    /// Transactions in a second, connecting not counted.
    ///
    /// - Parameter slice: How long; rounded up to whole seconds.
    func transactionsPerSecond(for slice: Duration) async throws -> Double {
        try await onThread { try self.run(seconds: max(1, Int(slice.seconds.rounded(.up)))) }
    }

    private func run(seconds: Int) throws -> Double {
        let file = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID()).sql")
        try Data(self.script.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        var environment = self.target.environment
        if let searchPath { environment["PGOPTIONS"] = "-c search_path=\(searchPath)" }
        let output = try Tool.run(
            [
                "pgbench", "-n", "-M", "prepared", "-c", "\(self.clients)", "-j", "\(self.threads)", "-T", "\(seconds)",
                "-f", file.path,
            ],
            environment: environment)
        for line in output.split(separator: "\n") where line.hasPrefix("tps = ") {
            if let value = line.split(separator: " ").dropFirst(2).first.flatMap({ Double($0) }) { return value }
        }
        throw Failure(description: "pgbench printed no tps: \(output)")
    }
}

/// A command-line tool found on the PATH.
enum Tool {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Runs it to its end and returns what it printed.
    ///
    /// To be called on a thread of its own: it unblocks the thread's signals, which the tool inherits and pgbench's timer
    /// needs; Swift's runtime threads block them all.
    static func run(_ arguments: [String], environment: [String: String]) throws -> String {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe pthread_sigmask(SIG_SETMASK, &signals, nil)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.environment = environment
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        let complaints = try errors.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(arguments[0]) failed: \(String(decoding: complaints, as: UTF8.self))")
        }
        return String(decoding: printed, as: UTF8.self)
    }
}
