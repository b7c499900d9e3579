/// Decides, from a set and a history, what to apply.
public struct MigrationPlanner: Sendable, Hashable {
    /// Whether a pending migration may be older than an applied one; false by default.
    public var allowsOutOfOrder: Bool

    /// Lets files run that were applied under another source's name; false by default.
    public var allowsRepeated: Bool

    /// A planner.
    public init(allowsOutOfOrder: Bool = false, allowsRepeated: Bool = false) {
        self.allowsOutOfOrder = allowsOutOfOrder
        self.allowsRepeated = allowsRepeated
    }

    /// The plan that brings a schema with this history up to the set, or up to one version of it.
    ///
    /// Rows of other sources only tell whether the set's files have run under another name. Steps are listed even when there
    /// are problems.
    /// - Parameter others: Sources whose files are planned beside this set's, and so haven't moved here.
    public func plan(
        _ set: MigrationSet, history: [MigrationRecord], through target: Int? = nil, others: Set<String> = []
    ) -> MigrationPlan {
        let rows = history.filter { $0.source == set.source }
        let rowByVersion = Dictionary(rows.map { ($0.version, $0) }, uniquingKeysWith: { $1 })
        let newestApplied = rows.filter { $0.state == .applied }.map(\.version).max() ?? 0
        var steps: [MigrationPlan.Step] = []
        var problems = unknownRows(rows, in: set)
        var notes: [MigrationPlan.Note] = []

        if rows.isEmpty, !allowsRepeated { problems += moved(set, history, others) }
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
                if migration.version > target ?? .max { continue }
                // A verify query may have been added to tell how far the text that ran got; an index of another text
                // tells nothing.
                let isSame = row.canonicalChecksum == migration.canonicalChecksum
                if isSame ? migration.isInspectable : !migration.verify.isEmpty {
                    notes.append(.failedBefore(version: migration.version, error: row.error))
                    steps.append(.init(migration: migration, resumes: true))
                } else {
                    problems.append(.needsResolution(version: migration.version, state: row.state))
                }
            case .failedClean?, nil:
                if migration.version > target ?? .max { continue }
                if let row { notes.append(.failedBefore(version: migration.version, error: row.error)) }
                steps.append(.init(migration: migration, resumes: false))
            }
            guard migration.version < newestApplied else { continue }
            if allowsOutOfOrder {
                notes.append(.late(version: migration.version, newestApplied: newestApplied))
            } else {
                problems.append(.outOfOrder(version: migration.version, newestApplied: newestApplied))
            }
        }
        return MigrationPlan(
            source: set.source, newestApplied: newestApplied, steps: steps, problems: problems, notes: notes)
    }

    /// The files that were applied under a source that is not among those given.
    private func moved(
        _ set: MigrationSet, _ history: [MigrationRecord], _ others: Set<String>
    ) -> [MigrationProblem] {
        let strangers = history.filter {
            $0.source != set.source && $0.source != MigrationSet.embeddedSource && !others.contains($0.source)
                && $0.state == .applied
        }
        guard !strangers.isEmpty else { return [] }
        return set.migrations.compactMap { migration in
            strangers.first {
                $0.version == migration.version && $0.canonicalChecksum == migration.canonicalChecksum
            }.map { .sourceMoved(version: migration.version, from: $0.source) }
        }
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
