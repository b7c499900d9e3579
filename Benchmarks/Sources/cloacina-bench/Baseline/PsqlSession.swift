import Foundation
import Glibc

/// One psql that stays connected and runs what it is given.
final class PsqlSession {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let process = Process()
    private let input = Pipe()
    private let errors = Pipe()
    private var marks = 0

    init(target: Target, database: String) throws {
        var environment = target.environment
        environment["PGDATABASE"] = database
        self.process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        self.process.arguments = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"]
        self.process.environment = environment
        self.process.standardInput = self.input
        self.process.standardError = self.errors
        try self.process.run()
        try self.run("SELECT 1;\n")
    }

    /// Sends statements and waits until psql has run them all.
    func run(_ sql: String) throws {
        self.marks += 1
        let mark = "cloacina-bench-\(self.marks)"
        try self.input.fileHandleForWriting.write(contentsOf: Data((sql + "\\warn \(mark)\n").utf8))
        var heard = ""
        while !heard.contains(mark) {
            let data = self.errors.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Failure(description: "psql ended: \(heard)") }
            heard += String(decoding: data, as: UTF8.self)
        }
    }

    func end() {
        try? self.input.fileHandleForWriting.close()
        self.process.waitUntilExit()
    }
}
