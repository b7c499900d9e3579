import CloacinaPostgres
public import CloacinaSchema

/// The result for one tenant when an edited file is accepted for all.
public struct ReblessResult: Sendable, Hashable, Encodable {
    /// The end that it came to.
    public enum Outcome: String, Sendable, Hashable, Encodable {
        /// Its history has the file as it is now.
        case reblessed
        /// Another process worked on it, or a lock stayed taken; try again.
        case busy
        /// Its history could not be read or changed.
        case failed
        /// No connection could be made any more; nothing was tried.
        case unreached
    }

    /// The tenant's name.
    public let tenant: String
    /// The end that it came to.
    public let outcome: Outcome
    /// The parts of what went wrong.
    public let failure: TenantMigrationFailure?
}

extension DatabaseAdmin {
    /// Takes a file as it is now for what was applied to every tenant that has it applied with another text; audited.
    ///
    /// A tenant that is busy or fails is reported, and the others go on. So is one whose history can't be read: nobody knows
    /// what it has applied. Tenants that are half removed are left alone.
    /// - Parameters:
    ///   - version: The file's version.
    ///   - source: The source it belongs to, one of the sets'.
    ///   - sets: The application's own migrations beside this library's.
    ///   - onResult: Called after each tenant.
    /// - Returns: One result for each tenant that has the file with another text, or whose history can't be read.
    /// - Throws: ``AdminError`` when there is no such file, or the task is cancelled; what was changed before stays changed.
    @discardableResult
    public func reblessAll(
        _ version: Int, of source: String, sets: [MigrationSet], onResult: (ReblessResult) async -> Void = { _ in }
    ) async throws -> [ReblessResult] {
        let set = try Self.set(of: source, in: sets, with: version)
        return try await self.withMigrator { migrator in
            try await self.reblessAll(version, of: set, over: migrator, onResult: onResult)
        }
    }

    private func reblessAll(
        _ version: Int, of set: MigrationSet, over migrator: Migrator, onResult: (ReblessResult) async -> Void
    ) async throws -> [ReblessResult] {
        let found = try await self.withConnection { connection in
            await migrator.sweep(on: connection)
            return try await FleetSurvey(
                tenant: nil, sets: [set], planner: MigrationPlanner(), on: connection, connect: self.connector
            ).entries
        }
        var results: [ReblessResult] = []
        // The lease on what all share, and a server that is gone, are waited for once and not for each tenant.
        var forAll: ReblessResult?
        for entry in found where entry.tenant.state != .removing {
            let result: ReblessResult
            if let unreadable = entry.unreadable([set]) {
                result = unreadable
            } else if !entry.isEdited(version) {
                continue
            } else if let forAll {
                result = ReblessResult(tenant: entry.tenant.name, outcome: forAll.outcome, failure: forAll.failure)
            } else {
                result = try await self.rebless(version, of: set, entry, over: migrator) { forAll = $0 }
            }
            results.append(result)
            await onResult(result)
        }
        return results
    }

    /// The set of a source that has a file of a version, this library's own included.
    static func set(
        of source: String, in sets: [MigrationSet], with version: Int, tenant: String? = nil
    ) throws -> MigrationSet {
        let found: MigrationSet?
        do {
            found = try TenantMigrations.ownFirst(sets, allowsRepeated: true).first { $0.source == source }
        } catch {
            throw AdminError(error, tenant: tenant)
        }
        if let found {
            // One that was applied and lost its file is as missing here as one that never was.
            guard found.migrations.contains(where: { $0.version == version }) else {
                throw AdminError(
                    .invalidConfiguration,
                    "no file of the version \(version) is among those of \(source); look at its directory",
                    tenant: tenant)
            }
            return found
        }
        throw AdminError(
            .invalidConfiguration,
            "no files of the source \(source) are given; name their directory: --migrations DIRECTORY=\(source)",
            tenant: tenant)
    }

    /// Accepts the file for one tenant, and tells what stands in the way of all others as well.
    private func rebless(
        _ version: Int, of set: MigrationSet, _ entry: FleetSurvey.Entry, over migrator: Migrator,
        onObstacle: (ReblessResult) -> Void
    ) async throws -> ReblessResult {
        let name = entry.tenant.name
        guard !Task.isCancelled else { throw AdminError(CancellationError()) }
        do {
            // Whoever else accepted it meanwhile has done the same.
            _ = try await self.withConnection(tenant: name) { connection in
                try await self.rebless(version, of: set, name, over: migrator, on: connection)
            }
            return ReblessResult(tenant: name, outcome: .reblessed, failure: nil)
        } catch {
            let failure = AdminError(error, tenant: name)
            let words = TenantMigrationFailure(failure)
            switch failure.code {
            case .cancelled: throw failure
            case .busy:
                let result = ReblessResult(tenant: name, outcome: .busy, failure: words)
                if (failure.underlying as? MigrationError)?.lease == Lease.tenants.object { onObstacle(result) }
                return result
            case .connection:
                // Over another connection the others may be reached.
                let endpoint = try? await self.endpoint()
                if endpoint == nil { onObstacle(ReblessResult(tenant: name, outcome: .unreached, failure: words)) }
                return ReblessResult(tenant: name, outcome: .failed, failure: words)
            default: return ReblessResult(tenant: name, outcome: .failed, failure: words)
            }
        }
    }
}

extension FleetSurvey.Entry {
    func isEdited(_ version: Int) -> Bool {
        self.plans.contains { plan in
            plan.problems.contains { problem in
                if case .checksumChanged(version, _, _) = problem { true } else { false }
            }
        }
    }

    func hasApplied(_ version: Int, of source: String) -> Bool {
        guard case .read(let records) = self.history else { return false }
        return records.contains { $0.source == source && $0.version == version && $0.state == .applied }
    }

    /// The result for a tenant of which nobody knows what it has applied.
    fileprivate func unreadable(_ sets: [MigrationSet]) -> ReblessResult? {
        let problems = self.status(sets).problems.filter { $0.kind == .unreadable }
        guard !problems.isEmpty else { return nil }
        return ReblessResult(
            tenant: self.tenant.name, outcome: .failed, failure: TenantMigrationFailure(problems))
    }
}
