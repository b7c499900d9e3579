import CloacinaPostgres
import CloacinaSchema
import Synchronization

extension Lease {
    /// Held while a database is prepared.
    static let bootstrap = Lease(object: "bootstrap")

    /// Held while a tenant is created, migrated, given new credentials or removed: each excludes the others.
    static func tenant(_ name: String) -> Lease { Lease(object: "tenant \(name)") }
}

/// The lease under which one operation runs, as one session of the administrator's holds it.
///
/// It lasts as long as its session, so whatever the session does afterwards is done under it. It is given back in a flush of
/// its own once the work is committed: whoever takes it next sees all of that.
final class AdministrationLease: Sendable {
    private let lease: Lease
    private let connection: PostgresConnection
    private let keeper: LeaseKeeper
    private let tenant: String?
    private let held = Mutex<HeldLease?>(nil)

    /// The lease on a tenant's name.
    convenience init(tenant: String, on connection: PostgresConnection) {
        self.init(.tenant(tenant), tenant: tenant, on: connection)
    }

    init(_ lease: Lease, tenant: String? = nil, on connection: PostgresConnection) {
        self.lease = lease
        self.tenant = tenant
        self.connection = connection
        self.keeper = LeaseKeeper(connection: connection, schema: BootstrapQueries.controlSchema)
    }

    /// Whether it was taken and not given back yet.
    var isHeld: Bool { self.held.withLock { $0 != nil } }

    /// Takes the lease, within `patience`.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/busy``, which names the holder.
    func take(within patience: Duration = .zero) async throws {
        do throws(MigrationError) {
            let held = try await self.keeper.acquire(
                self.lease, within: patience, pollInterval: .milliseconds(50))
            self.held.withLock { $0 = held }
        } catch {
            guard error.code == .lockBusy else { throw error.underlying ?? error }
            throw AdminError(.busy, self.refusal(error.sessions), tenant: self.tenant, underlying: error)
        }
    }

    /// Makes sure that the lease still stands, before what nothing undoes.
    func confirm() async throws {
        guard let held = self.held.withLock({ $0 }), try await self.keeper.isHeld(held) else {
            throw AdminError(
                .busy,
                "somebody deleted this operation's row of cloacina.leases; look who else is at work, then call again",
                tenant: self.tenant)
        }
    }

    /// Gives the lease back; says whether that worked. When it did not, the connection has to be closed.
    @discardableResult
    func release() async -> Bool {
        let held = self.held.withLock { held in
            defer { held = nil }
            return held
        }
        guard let held else { return true }
        return await self.keeper.release([held])
    }

    private func refusal(_ sessions: [MigrationError.Session]) -> String {
        let holders = sessions.isEmpty ? "" : " (\(sessions.map(\.description).joined(separator: "; ")))"
        let work =
            self.tenant == nil
            ? "another process is preparing this database"
            : "another process is creating, migrating or removing this tenant, or making its credentials"
        return work + holders + "; try again"
    }
}
