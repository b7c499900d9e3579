import CloacinaPostgres
import Logging

/// The removal of one login over which files ran: whatever they made as it, whoever granted it something, holds it, or still has
/// a session of it.
///
/// None of that belongs to the tenant alone. Code that a file made may have the login grant other tenants something, which those
/// can't be dropped with, and every login of the server may lock a role by granting it something.
struct MigratorRemoval {
    let role: String
    /// The tenant whose files ran, for the audit trail; nil when that is not known.
    let tenant: String?
    /// The administrator's session, which nothing else uses meanwhile.
    let administrator: PostgresConnection
    /// Opens connections to other databases of the server.
    let connect: RemovalSession.Connect
    let logger: Logger

    /// The number of large objects that one transaction unlinks; each takes a lock.
    private static let largestPart: Int64 = 1_000
    /// The most databases that are looked after for one login.
    private static let mostDatabases: Int64 = 50

    /// Drops the login.
    ///
    /// - Parameter isGuarded: Whether a session of ours has the one place that the login has; otherwise somebody else may.
    func run(isGuarded: Bool) async -> Outcome {
        do {
            if !isGuarded { try await self.evict() }
            try await self.dropLogin()
            return .gone
        } catch {
            // Somebody else was faster; a role that its memberships or grants name may be what is missing, too.
            let isMissing = (error as? PostgresError)?.sqlState == "42704"
            if isMissing, await self.isGone() { return .gone }
            return .left(isShut: await self.shut(after: error))
        }
    }

    private func isGone() async -> Bool {
        (try? await self.administrator.query(MigratorSQL.isGone(self.role)).single(as: Bool.self)) ?? false
    }

    /// The end that it came to.
    enum Outcome: Sendable, Hashable {
        case gone
        /// It is there still. One that is shut lets nobody in and has no session.
        case left(isShut: Bool)
    }

    private func dropLogin() async throws {
        do {
            return try await self.dropBare()
        } catch let error as PostgresError where error.sqlState == "2BP01" {
            // A file made something as the login, or somebody gave it a right.
        }
        // A grantor can't become a member of its own member.
        let owners: [String] = try await self.administrator.query(MigratorSQL.memberships(of: self.role)).column("name")
        for owner in owners {
            try await Migrator.patiently {
                try await self.administrator.pipeline(MigratorSQL.dismiss(self.role, from: owner))
            }
        }
        try await self.clear(self.administrator)
        let elsewhere: [String] = try await self.administrator
            .query(MigratorSQL.otherDatabases(with: self.role, limit: Self.mostDatabases)).column("name")
        for database in elsewhere { await self.clear(database) }
        try await self.dropBare()
    }

    /// Drops a login that has nothing. Who holds it is ended first, and again as the first part of each further attempt: who comes
    /// back at once is in the way of every change that begins a moment after the ending.
    private func dropBare() async throws {
        var holders: Set<String> = []
        for attempt in 1...Migrator.attempts {
            let drop = MigratorSQL.drop(
                self.role, database: self.administrator.endpoint.database,
                wait: attempt == 1 ? MigratorSQL.briefWait : LimitQueries.boundedWait)
            do {
                if attempt == 1 {
                    try await self.administrator.pipeline(drop)
                } else {
                    let watcher = self.watcher(of: self.administrator)
                    let ending = holders.sorted().flatMap(watcher.ending(of:))
                    try await watcher.watching {
                        _ = try await self.administrator.withTransaction { try await $0.pipeline(ending + drop) }
                    }
                }
                return
            } catch let error as PostgresError {
                guard attempt < Migrator.attempts, ["55P03", "XX000", "40P01", "23505"].contains(error.sqlState) else {
                    throw error
                }
                let found: [String] = try await self.administrator.query(MigratorSQL.holders(of: self.role))
                    .column("name")
                for name in found where holders.insert(name).inserted { await self.note(name) }
                // Whoever else holds it is not ours to end.
                if error.sqlState == "55P03", attempt > 1, holders.isEmpty { throw error }
            }
        }
    }

    private func note(_ holder: String) async {
        self.logger.warning(
            "somebody held a login of migrations, and was ended",
            metadata: ["cloacina.role": "\(self.role)", "cloacina.holder": "\(holder)"])
        guard let tenant else { return }
        _ = try? await self.administrator.query(
            RemovalQueries.auditIntrusion(tenant: tenant, "\(holder), which held the login \(self.role)"))
    }

    // MARK: Sessions

    /// Lets nobody in any more, and ends whoever is: also one whose statement goes on after its connection was closed.
    private func evict() async throws {
        // Those who are in go first: one may hold the login's row, and so may another tenant's session.
        try? await self.endSessions()
        try await self.watcher(of: self.administrator).unblocked { wait in
            try await Migrator.patiently {
                try await self.administrator.pipeline(MigratorSQL.shut(self.role, wait: wait))
            }
        }
        try await self.endSessions()
    }

    private func endSessions() async throws {
        try await self.watcher(of: self.administrator).endSessions(
            of: self.role, [MigratorSQL.endSessions(of: self.role)], limits: MigratorSQL.patience)
    }

    /// Takes from a login that can't be dropped yet the owner's role, the way in, and its sessions, unless somebody holds these up
    /// as well; says whether nobody can use it any more.
    private func shut(after error: any Error) async -> Bool {
        let memberships = try? await self.administrator.query(MigratorSQL.memberships(of: self.role))
        for owner in (try? memberships?.column("name", as: String.self)) ?? [] {
            _ = try? await self.administrator.pipeline(MigratorSQL.dismiss(self.role, from: owner))
        }
        let isShut = (try? await self.evict()) != nil
        self.logger.warning(
            "a login of migrations could not be dropped, and is tried again by the next operation",
            metadata: [
                "cloacina.role": "\(self.role)", "cloacina.shut": "\(isShut)", "cloacina.error": "\(error)",
            ])
        return isShut
    }

    // MARK: Belongings

    private func clear(_ database: String) async {
        guard let other = try? await self.connect(database) else { return }
        // What is left is told when the login is dropped.
        try? await self.clear(other)
        await other.close()
    }

    /// Drops what the login owns in one database, committed by itself, and then takes back what others granted it: nobody but the
    /// grantor can, and not as long as something of theirs depends on the login's.
    private func clear(_ connection: PostgresConnection) async throws {
        try await self.change(self.act + [MigratorSQL.dropRoutines], over: connection)
        try await self.unlinkLargeObjects(over: connection)
        try await self.change(
            self.act + [PostgresStatement(ddl: "DROP OWNED BY \(self.quoted) CASCADE")], over: connection)
        let version = connection.serverVersion
        let sql = RemovalSQL(schema: "", owner: nil, roles: [self.role], serviceRole: "", serverVersion: version)
        for row in try await connection.query(MigratorSQL.grantors(to: self.role, serverVersion: version)) {
            let statements = sql.takingBack(from: try row.value("name"), mayAct: try row.value("may_act"))
            // Not all of these granted anything, and the administrator may act as some only.
            try? await self.change(statements.map(PostgresStatement.init(ddl:)), over: connection)
        }
    }

    /// Unlinks the large objects that are there now, in parts; what comes meanwhile is the last statement's.
    private func unlinkLargeObjects(over connection: PostgresConnection) async throws {
        let highest: Int64 = try await connection.query(MigratorSQL.lastLargeObject(of: self.role)).single("last")
        var last: Int64 = 0
        while last < highest {
            let act = self.act
            let unlink = OwnershipQueries.unlinkLargeObjects(of: self.role, after: last, limit: Self.largestPart)
            let results: [PostgresRows]
            do {
                results = try await self.watcher(of: connection).unblocked { wait in
                    try await connection.withTransaction { transaction in
                        Array(try await transaction.pipeline([wait] + act + [unlink]))
                    }
                }
            } catch let error as PostgresError where error.sqlState == "42501" {
                // The server lets nobody unlink: `DROP OWNED` has to do, in one piece.
                return
            }
            guard let next = try results[1 + act.count].single("last", as: Int64?.self) else { return }
            last = next
        }
    }

    /// Ends whoever of the tenants keeps a session of the administrator's waiting.
    private func watcher(of connection: PostgresConnection) -> RemovalSession {
        RemovalSession.watcher(
            of: self.tenant ?? "", on: connection, registry: self.administrator, connect: self.connect)
    }

    private func change(_ statements: [PostgresStatement], over connection: PostgresConnection) async throws {
        try await Migrator.patiently {
            try await self.watcher(of: connection).unblocked { wait in
                _ = try await connection.withTransaction { transaction in
                    try await transaction.pipeline([wait] + statements)
                }
            }
        }
    }

    /// Acts as the login until the transaction ends.
    private var act: [PostgresStatement] {
        let grant = MembershipSQL.grant(
            self.role, to: "CURRENT_USER", serverVersion: self.administrator.serverVersion)
        return [grant, "SET LOCAL ROLE \(self.quoted)"].map(PostgresStatement.init(ddl:))
    }

    private var quoted: String { PostgresIdentifier.quote(self.role) }
}
