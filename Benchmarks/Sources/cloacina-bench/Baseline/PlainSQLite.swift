import Foundation
import GRDB

/// What a plain loop does with SQLite: claim a hundred rows, complete them, and again.
struct PlainSQLite {
    private let queue: DatabaseQueue

    init(path: String) throws {
        var configuration = Configuration()
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            try database.execute(sql: "PRAGMA synchronous = FULL")
        }
        self.queue = try DatabaseQueue(path: path, configuration: configuration)
    }

    func tasksPerSecond(_ count: Int) throws -> Double {
        try self.queue.write { database in
            try database.execute(
                sql: "CREATE TABLE job (id INTEGER PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL)")
            try database.execute(sql: "CREATE INDEX job_ready ON job (id) WHERE state = 'ready'")
            let insert = try database.makeStatement(sql: "INSERT INTO job (state, attempt) VALUES ('ready', 0)")
            for _ in 0..<count { try insert.execute() }
        }
        let start = ContinuousClock.now
        var done = 0
        while true {
            let ids = try self.queue.write { database in
                let claim = try database.cachedStatement(
                    sql: """
                        UPDATE job SET state = 'running', attempt = attempt + 1
                        WHERE id IN (SELECT id FROM job WHERE state = 'ready' ORDER BY id LIMIT 100) RETURNING id
                        """)
                return try Int64.fetchAll(claim)
            }
            guard !ids.isEmpty else { break }
            try self.queue.write { database in
                let complete = try database.cachedStatement(sql: "UPDATE job SET state = 'completed' WHERE id = ?")
                for id in ids { try complete.execute(arguments: [id]) }
            }
            done += ids.count
        }
        return Double(done) / start.duration(to: .now).seconds
    }
}
