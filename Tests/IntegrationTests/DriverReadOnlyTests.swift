import Testing

@testable import CloacinaPostgres
@testable import cloacina_admin

extension ServerTests {
    /// A primary that is demoted while its sessions stay open.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct DriverReadOnlyTests {
        private func demote(_ isDemoted: Bool, _ superuser: PostgresConnection) async throws {
            let value = isDemoted ? "on" : "off"
            try await superuser.script("SET default_transaction_read_only = off")
            for sql in ["ALTER SYSTEM SET default_transaction_read_only = \(value)", "SELECT pg_reload_conf()"] {
                try await superuser.query(PostgresStatement(sql, prepared: false))
            }
        }

        @Test func aRefusedWriteClosesTheConnectionsThatLeadThere() async throws {
            try await withPrivateDatabase { _ in
                let database = try #require(TestDatabase.current)
                let label = try await MarkedTenants.make(1, in: database).labels[0]
                let superuser = try await PostgresConnection.connect(database.superuser)
                var configuration = PostgresPoolConfiguration(database.administrator)
                configuration.maximumConnections = 3
                configuration.maximumPerTenant = 3
                let write = PostgresStatement("UPDATE marker SET tenant = tenant", prepared: false)
                try await PostgresPool.withPool(configuration) { pool in
                    try await pool.withConnection(label) { _ in
                        try await pool.withConnection(label) { _ = try await $0.query(write) }
                    }
                    #expect(pool.statistics.opened == 2)
                    try await self.demote(true, superuser)
                    // The server tells its sessions when it next hears of them.
                    while true {
                        do throws(PostgresError) {
                            try await Self.run(write, pool, label)
                        } catch {
                            #expect(error.sqlState == "25006")
                            break
                        }
                    }
                    #expect(pool.statistics.discarded == 2)
                    try await self.demote(false, superuser)
                    let watcher = try await PostgresConnection.connect(database.administrator)
                    while try await !watcher.isWritable() { await Task.yield() }
                    try await Self.run(write, pool, label)
                    #expect(pool.statistics.opened == 3)
                    await watcher.close()
                }
                await superuser.close()
            }
        }

        private static func run(
            _ statement: PostgresStatement, _ pool: PostgresPool, _ label: PostgresLabel
        ) async throws(PostgresError) {
            do {
                _ = try await pool.withConnection(label) { try await $0.query(statement) }
            } catch {
                throw error as? PostgresError ?? PostgresError(.cancelled)
            }
        }

        @Test func aSessionThatIsReadOnlyByChoiceSaysNothingOfTheServer() async throws {
            try await withPrivateDatabase { _ in
                let database = try #require(TestDatabase.current)
                try await PostgresConnection.withConnection(database.administrator) { connection in
                    try await connection.script("SET default_transaction_read_only = on")
                    let isWritable = try await connection.isWritable()
                    #expect(isWritable)
                }
            }
        }

        @Test func aTransactionThatIsReadOnlyByChoiceCostsNoConnection() async throws {
            try await withPrivateDatabase { _ in
                let database = try #require(TestDatabase.current)
                let label = try await MarkedTenants.make(1, in: database).labels[0]
                try await PostgresPool.withPool(PostgresPoolConfiguration(database.administrator)) { pool in
                    try await pool.withConnection(label) { lease in
                        let error = await #expect(throws: PostgresError.self) {
                            try await lease.withTransaction { transaction in
                                try await transaction.query(
                                    PostgresStatement("SET TRANSACTION READ ONLY", prepared: false))
                                try await transaction.query("UPDATE marker SET tenant = tenant")
                            }
                        }
                        #expect(error?.sqlState == "25006")
                    }
                    #expect(pool.statistics.discarded == 0)
                }
            }
        }
    }
}
