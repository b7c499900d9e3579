/// Decides, from a set and a history, what to apply.
public struct MigrationPlanner: Sendable, Hashable {
    /// Whether a pending migration may be older than an applied one; false by default.
    public var allowsOutOfOrder: Bool

    /// A planner.
    public init(allowsOutOfOrder: Bool = false) {
        self.allowsOutOfOrder = allowsOutOfOrder
    }

    /// The plan that brings a schema with this history up to the set, or up to one version of it.
    ///
    /// Rows of other sources are passed over. Steps are listed even when there are problems.
    public func plan(
        _ set: MigrationSet, history: [MigrationRecord], through target: Int? = nil
    ) -> MigrationPlan {
        let rows = history.filter { $0.source == set.source }
        let rowByVersion = Dictionary(rows.map { ($0.version, $0) }, uniquingKeysWith: { $1 })
        let newestApplied = rows.filter { $0.state == .applied }.map(\.version).max() ?? 0
        var steps: [MigrationPlan.Step] = []
        var problems = unknownRows(rows, in: set)
        var notes: [MigrationPlan.Note] = []

        if let target, !set.migrations.contains(where: { $0.version == target }) {
            problems.append(.unknownTarget(version: target))
        }
        for migration in set.migrations {
            let row = rowByVersion[migration.version]
            switch row?.state {
            case .applied?:
                compare(migration, with: row, &problems, &notes)
                continue
            case .running?, .failedUnknown?:
                guard let row else { continue }
                compare(migration, with: row, &problems, &notes)
                if migration.version > target ?? .max { continue }
                if migration.isInspectable {
                    steps.append(.init(migration: migration, resumes: true))
                } else {
                    problems.append(.needsResolution(version: migration.version, state: row.state))
                }
            case .failedClean?, nil:
                if migration.version > target ?? .max { continue }
                steps.append(.init(migration: migration, resumes: false))
            }
            if migration.version < newestApplied, !allowsOutOfOrder {
                problems.append(.outOfOrder(version: migration.version, newestApplied: newestApplied))
            }
        }
        return MigrationPlan(
            source: set.source, newestApplied: newestApplied, steps: steps, problems: problems, notes: notes)
    }

    private func unknownRows(_ rows: [MigrationRecord], in set: MigrationSet) -> [MigrationProblem] {
        let known = Set(set.migrations.map(\.version))
        return rows.filter { $0.state != .failedClean && !known.contains($0.version) }
            .sorted { $0.version < $1.version }
            .map {
                .unknownVersion(version: $0.version, title: $0.title, isNewer: $0.version > set.newestVersion)
            }
    }

    private func compare(
        _ migration: Migration, with row: MigrationRecord?, _ problems: inout [MigrationProblem],
        _ notes: inout [MigrationPlan.Note]
    ) {
        guard let row else { return }
        if row.canonicalChecksum != migration.canonicalChecksum {
            problems.append(
                .checksumChanged(
                    version: migration.version, recorded: row.canonicalChecksum,
                    current: migration.canonicalChecksum))
        } else if row.rawChecksum != migration.rawChecksum {
            notes.append(.differsInBlanksOnly(version: migration.version))
        }
        if row.title != migration.title {
            notes.append(.renamed(version: migration.version, from: row.title))
        }
    }
}
