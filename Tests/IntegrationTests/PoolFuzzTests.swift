import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import CloacinaPostgres

extension ServerTests {
    /// Leases by the hundred thousand over 200 tenants, each doing its worst to its session.
    @Suite struct PoolFuzzTests {
        /// How many leases; `CLOACINA_TEST_FUZZ_LEASES` overrides, as a soak run would.
        static let leases = Int(ProcessInfo.processInfo.environment["CLOACINA_TEST_FUZZ_LEASES"] ?? "") ?? 1_000_000

        @Test(.timeLimit(.minutes(40)))
        func noLeaseEverReadsAnotherTenantsRow() async throws {
            let seed = UInt64.random(in: 0...UInt64.max)
            let database = try #require(TestDatabase.current)
            let tenants = try await MarkedTenants.make(200, in: database)
            try await tenants.addTrap(in: database)
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 8
            configuration.maximumTenantsPerConnection = 1000
            // Sixteen workers share eight connections, on a machine that others may use up.
            configuration.checkoutTimeout = .seconds(600)
            let tally = Tally()
            let killer = try await PostgresConnection.connect(database.superuser)
            let statistics = try await PostgresPool.withPool(configuration) { pool in
                await withTaskGroup(of: Void.self) { group in
                    for worker in 0..<16 {
                        group.addTask {
                            var fuzzer = LeaseFuzzer(
                                seed: seed &+ UInt64(worker), pool: pool, tenants: tenants, tally: tally,
                                killer: killer)
                            await fuzzer.run(Self.leases / 16)
                        }
                    }
                }
                return pool.statistics
            }
            await killer.close()
            #expect(tally.foreignRows == 0, "seed \(seed)")
            #expect(tally.surprises.isEmpty, "seed \(seed): \(tally.surprises.prefix(5))")
            #expect(tally.ownRows > Self.leases / 2)
            #expect(statistics.checkouts >= Self.leases / 16 * 16)
            #expect(statistics.leaksDetected > 0)
            #expect(statistics.leased == 0)
        }
    }
}

/// What the fuzz saw, over all workers.
private final class Tally: Sendable {
    private let state = Mutex<(own: Int, foreign: Int, surprises: [String])>((0, 0, []))
    var ownRows: Int { self.state.withLock { $0.own } }
    var foreignRows: Int { self.state.withLock { $0.foreign } }
    var surprises: [String] { self.state.withLock { $0.surprises } }

    func saw(_ marker: String, expecting own: String) {
        self.state.withLock { state in
            if marker == own { state.own += 1 } else { state.foreign += 1 }
        }
    }

    func surprise(_ error: any Error) {
        self.state.withLock { $0.surprises.append(String(reflecting: error)) }
    }
}

/// One worker: leases one after the other, each with a random tenant and a random misdeed.
private struct LeaseFuzzer {
    struct Deliberate: Error {}

    private var random: SeededGenerator
    private let pool: PostgresPool
    private let tenants: MarkedTenants
    private let tally: Tally
    private let killer: PostgresConnection

    init(seed: UInt64, pool: PostgresPool, tenants: MarkedTenants, tally: Tally, killer: PostgresConnection) {
        self.random = SeededGenerator(seed: seed)
        self.pool = pool
        self.tenants = tenants
        self.tally = tally
        self.killer = killer
    }

    mutating func run(_ count: Int) async {
        for _ in 0..<count {
            let label = self.tenants.labels[Int(self.random.next() % UInt64(self.tenants.labels.count))]
            let other = self.tenants.labels[Int(self.random.next() % UInt64(self.tenants.labels.count))]
            let dice = self.random.next() % 10_000
            do {
                try await self.pool.withConnection(label) { lease in
                    try await self.misbehave(lease, dice: dice, other: other)
                }
            } catch is Deliberate {
            } catch let error as PostgresError where error.code == .connectionLost && (60..<65).contains(dice) {
            } catch {
                self.tally.surprise(error)
            }
        }
    }

    /// First reads its own row, which shows what the lease before left behind; then does something.
    private func misbehave(_ lease: borrowing PostgresLease, dice: UInt64, other: PostgresLabel) async throws {
        if dice >= 9_000 { return }  // a lease that runs nothing at all
        if dice >= 8_500 {  // the very first statement fails, and takes the relabelling back with it
            _ = try? await lease.query("SELECT 1/0")
        }
        if (8_300..<8_500).contains(dice) {  // a rollback that nobody began must not take the label away
            let first = ["ROLLBACK", "ABORT", "DO $$ BEGIN ROLLBACK; END $$", "COMMIT"][Int(dice % 4)]
            _ = try? await lease.query(PostgresStatement(first, prepared: false))
        }
        try await self.read(lease)
        switch dice {
        case 0..<20: try await lease.query(PostgresStatement("SET search_path TO \(other.schema)", prepared: false))
        case 20..<40: try await lease.query("SELECT trap(\(other.schema))")
        case 40..<60: try await lease.query("SELECT set_config('role', \(other.role ?? ""), false)")
        case 60..<65:
            try await self.killer.query("SELECT pg_terminate_backend(\(lease.backendPID))")
            try await lease.query("SELECT pg_sleep(60)")
        case 65..<75: try await lease.query(PostgresStatement("BEGIN", prepared: false))
        case 75..<95:
            try await lease.query(PostgresStatement("RESET ROLE", prepared: false))
        case 95..<600:
            _ = try? await lease.withTransaction { transaction in
                try await transaction.query("SELECT set_config('search_path', \(other.schema), false)")
                throw Deliberate()
            }
            try await self.read(lease)
        case 600..<900:
            try await lease.withTransaction { transaction in
                _ = try await transaction.query("SELECT set_config('search_path', \(other.schema), true)")
            }
            try await self.read(lease)
        case 900..<1_400: throw Deliberate()
        case 1_400..<1_700:
            _ = try? await lease.query("SELECT no_such_column FROM marker")
            try await self.read(lease)
        case 1_700..<1_720:
            _ = try? await lease.query("SELECT pg_sleep(60)", deadline: .now.advanced(by: .milliseconds(2)))
            try await self.read(lease)
        default: break
        }
    }

    private func read(_ lease: borrowing PostgresLease) async throws {
        let marker: String = try await lease.query("SELECT tenant FROM marker").single()
        self.tally.saw(marker, expecting: lease.label.schema)
    }
}

extension MarkedTenants {
    /// A function in every tenant's schema that changes the path behind the driver's back.
    func addTrap(in database: TestDatabase) async throws {
        try await PostgresConnection.withConnection(database.superuser) { connection in
            for label in self.labels {
                try await connection.query(
                    PostgresStatement(
                        """
                        CREATE FUNCTION \(label.schema).trap(path text) RETURNS text LANGUAGE plpgsql AS
                        $$ BEGIN RETURN set_config('search_path', path, false); END $$
                        """, prepared: false))
            }
        }
    }
}
