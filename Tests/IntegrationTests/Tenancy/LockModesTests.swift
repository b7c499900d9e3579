import CloacinaPostgres
import Testing

@testable import CloacinaTenancy

extension ServerTests {
    /// The table of lock modes that conflict is the server's.
    @Suite(.serialized, .timeLimit(.minutes(40)))
    struct LockModesTests {
        @Test("C2: two modes of locks conflict where the server says so", arguments: LockModes.conflicts.map(\.mode))
        func modesConflictAsTheServerSays(held: String) async throws {
            let table = "locked_\(TenantFixture.name())"
            try await TenantFixture.withSuperuser { holder in
                try await holder.script("CREATE TABLE \(table) (id int)")
                try await holder.script("BEGIN; LOCK TABLE \(table) IN \(Self.sql(held)) MODE")
                try await TenantFixture.withSuperuser { other in
                    for wanted in LockModes.conflicts.map(\.mode) {
                        let says: Bool = try await other.query(
                            "SELECT \(unescaped: LockModes.conflict("'\(held)'", "'\(wanted)'"))"
                        ).single()
                        var isRefused = false
                        try await other.script("BEGIN")
                        do {
                            try await other.script("LOCK TABLE \(table) IN \(Self.sql(wanted)) MODE NOWAIT")
                        } catch let error as PostgresError where error.sqlState == "55P03" {
                            isRefused = true
                        }
                        try await other.script("ROLLBACK")
                        #expect(says == isRefused, "\(held), then \(wanted)")
                    }
                }
                try await holder.script("ROLLBACK; DROP TABLE \(table)")
            }
        }

        /// The mode as `LOCK TABLE` spells it.
        private static func sql(_ mode: String) -> String {
            var words = ""
            for character in mode.dropLast("Lock".count) {
                if character.isUppercase, !words.isEmpty { words += " " }
                words.append(character)
            }
            return words
        }
    }
}
