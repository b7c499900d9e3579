import ArgumentParser
import Cloacina
import CloacinaPostgres
import Foundation
import Glibc

/// Another process, which puts pipelines into tenants' queues and serves none.
final class CallingProcess {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()

    init(target: Target, workflow: String) throws {
        self.process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        self.process.arguments = ["call", workflow]
        self.process.environment = target.environment
        self.process.standardInput = self.input
        self.process.standardOutput = self.output
        try self.process.run()
    }

    /// Has a pipeline put into a tenant's queue.
    ///
    /// - Returns: When the other process began to, as ``monotonicNanoseconds`` shows it.
    func enqueue(_ label: PostgresLabel) throws -> Int64 {
        try self.input.fileHandleForWriting.write(contentsOf: Data("\(label.schema) \(label.role ?? "")\n".utf8))
        var answer = ""
        while !answer.hasSuffix("\n") {
            let data = self.output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Failure(description: "the calling process ended: \(answer)") }
            answer += String(decoding: data, as: UTF8.self)
        }
        guard let start = Int64(answer.dropLast()) else { throw Failure(description: answer) }
        return start
    }

    func end() {
        try? self.input.fileHandleForWriting.close()
        self.process.waitUntilExit()
    }
}

/// A clock that all processes of the machine share.
var monotonicNanoseconds: Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// What the other process does: for each line with a schema and a role, enqueues, and says when it began to.
struct CallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "call", shouldDisplay: false)

    @Argument var workflow: String

    func run() async throws {
        let stub = try Workflow(self.workflow) { WorkflowTask("a") { _ in } }
        var configuration = PostgresPoolConfiguration(PostgresConfiguration(""))
        configuration.maximumConnections = 1
        try await PostgresPool.withPool(configuration) { pool in
            while let line = try await onThread({ readLine() }) {
                let words = line.split(separator: " ").map(String.init)
                guard words.count == 2 else { throw ValidationError("expected a schema and a role") }
                let sender = try DefaultRunner(
                    pool: pool, label: PostgresLabel(schema: words[0], role: words[1]), workflows: [stub])
                let start = monotonicNanoseconds
                try await sender.enqueue(self.workflow)
                try FileHandle.standardOutput.write(contentsOf: Data("\(start)\n".utf8))
            }
        }
    }
}
