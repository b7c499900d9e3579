import CloacinaSchema

/// A difference between a tenant's own history and the files, or the registry, with the way out of it.
public struct TenantMigrationProblem: Sendable, Hashable, Encodable {
    /// The kind of difference.
    public enum Kind: String, Sendable, Hashable, Encodable, CaseIterable {
        /// A pending file is older than the newest applied one.
        case late
        /// An applied file's text was changed.
        case edited
        /// An applied file isn't there any more.
        case missing
        /// The schema has a migration that is newer than this program.
        case newer
        /// The registry knew a newer version: the schema comes from an older backup.
        case restored
        /// A file failed, or broke off half way.
        case failed
        /// The same files were applied under another source's name.
        case moved
        /// The tenant's history can't be read, or isn't there.
        case unreadable
    }

    /// The kind of difference.
    public let kind: Kind
    /// The migration, as `source/NNNN_title`; missing when it is about the tenant as a whole.
    public let migration: String?
    /// The difference and the command that leads out, in a sentence or two.
    public let advice: String
    /// True when nothing is applied to the tenant until it is settled.
    public let isBlocking: Bool

    package init(kind: Kind, migration: String?, advice: String, isBlocking: Bool) {
        self.kind = kind
        self.migration = migration
        self.advice = advice
        self.isBlocking = isBlocking
    }

    /// As `kind source/NNNN_title: advice`.
    public var text: String {
        self.kind.rawValue + (self.migration.map { " " + $0 } ?? "") + ": " + self.advice
    }
}

extension TenantMigrationProblem {
    /// A difference in the schema that all tenants share, whose files are this program's own.
    init(control problem: MigrationProblem, in set: MigrationSet) {
        let (kind, advice): (Kind, String) =
            switch problem {
            case .checksumChanged:
                (
                    .edited,
                    "it was applied by a program with another text of it: use that program, or one that is newer than both"
                )
            case .unknownVersion(_, _, let isNewer): (isNewer ? .newer : .missing, problem.advice)
            case .outOfOrder: (.late, problem.advice)
            case .needsResolution: (.failed, problem.advice)
            case .sourceMoved: (.moved, problem.advice)
            case .unknownTarget: (.missing, problem.advice)
            }
        self.init(
            kind: kind,
            migration: Migration.name(
                version: problem.version, title: set.title(of: problem.version), source: set.source),
            advice: advice, isBlocking: true)
    }

    static func all(in entry: FleetSurvey.Entry, _ sets: [MigrationSet]) -> [TenantMigrationProblem] {
        let name = entry.tenant.name
        switch entry.history {
        case .unreadable(let words):
            return [Self(kind: .unreadable, migration: nil, advice: words, isBlocking: true)]
        case .missing where entry.tenant.state == .removing:
            return []
        case .missing where entry.isUnmade:
            return [
                Self(
                    kind: .failed, migration: nil,
                    advice: "it is being created this very moment, or that broke off before the schema was made; then "
                        + "`cloacina-admin tenant create \(name)` finishes it", isBlocking: true)
            ]
        case .missing:
            return [
                Self(
                    kind: .unreadable, migration: nil,
                    advice:
                        "the schema \(entry.tenant.target.schema) or its table cloacina_migrations is missing; restore "
                        + "it from a backup, or drop the tenant", isBlocking: true)
            ]
        case .read:
            return zip(entry.plans, sets).flatMap { plan, set in
                plan.problems.map { Self($0, in: set, of: entry.tenant) } + plan.notes.compactMap { Self($0, in: set) }
            } + self.restored(entry, sets)
        }
    }

    private init(_ problem: MigrationProblem, in set: MigrationSet, of registered: RegisteredTenant) {
        let tenant = registered.name
        let title: String? =
            if case .unknownVersion(_, let title, _) = problem {
                title
            } else {
                set.title(of: problem.version)
            }
        let reference = Migration.name(version: problem.version, title: nil, source: set.source)
        let (kind, command): (Kind, String?) =
            switch problem {
            case .checksumChanged: (.edited, "migrate rebless --tenant \(tenant) \(reference) --migrations …")
            case .unknownVersion(_, _, let isNewer): (isNewer ? .newer : .missing, nil)
            case .outOfOrder: (.late, nil)
            case .needsResolution: (.failed, "migrate resolve --tenant \(tenant) \(reference) --as applied|rerun")
            case .sourceMoved: (.moved, nil)
            case .unknownTarget: (.missing, nil)
            }
        let goesOn =
            if case .needsResolution = problem, !registered.remnants.isEmpty {
                MigrationAdvice.goesOn(registered.remnants) + "; "
            } else {
                ""
            }
        self.init(
            kind: kind, migration: Migration.name(version: problem.version, title: title, source: set.source),
            advice: goesOn + problem.advice + (command.map { ": cloacina-admin \($0)" } ?? ""), isBlocking: true)
    }

    private init?(_ note: MigrationPlan.Note, in set: MigrationSet) {
        switch note {
        case .failedBefore(let version, let error):
            self.init(
                kind: .failed,
                migration: Migration.name(version: version, title: set.title(of: version), source: set.source),
                advice: "the last attempt failed" + (error.map { " (\($0))" } ?? "")
                    + "; mend what stopped it, then `cloacina-admin migrate apply"
                    + (set.source == MigrationSet.embeddedSource ? "" : " --migrations …") + "` tries it again",
                isBlocking: false)
        case .late(let version, let newest):
            self.init(
                kind: .late,
                migration: Migration.name(version: version, title: set.title(of: version), source: set.source),
                advice: "it came after \(newest), which is applied already, and is let through", isBlocking: false)
        case .differsInBlanksOnly, .renamed: return nil
        }
    }

    /// The sources of which the registry knows a newer version than the tenant's own history.
    private static func restored(
        _ entry: FleetSurvey.Entry, _ sets: [MigrationSet]
    ) -> [TenantMigrationProblem] {
        entry.tenant.versions.sorted { $0.key < $1.key }.compactMap { source, registered in
            let found = entry.versions[source] ?? 0
            guard found < registered else { return nil }
            let isGiven = sets.contains { $0.source == source }
            return Self(
                kind: .restored, migration: Migration.name(version: registered, title: nil, source: source),
                advice:
                    "the registry knew version \(registered), the tenant's own history ends at \(found): it comes from an "
                    + "older backup. `cloacina-admin migrate apply"
                    + (isGiven ? "" : " --migrations DIRECTORY=\(source)") + "` brings it up", isBlocking: false)
        }
    }
}

extension MigrationSet {
    fileprivate func title(of version: Int) -> String? { self.migrations.first { $0.version == version }?.title }
}
