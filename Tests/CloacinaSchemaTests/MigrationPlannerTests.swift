import CloacinaSchema
import Testing

@Suite struct MigrationPlannerTests {
    private static func migration(
        _ version: Int, _ text: String = "SELECT 1", canonical: String? = nil, verify: String? = nil
    ) -> Migration {
        let change: Migration.IndexChange? = text.hasPrefix("CREATE INDEX CONCURRENTLY") ? .create("i") : nil
        return Migration(
            version: version, title: "m\(version)", lane: .tenant, up: [SQLStatement(text: text, line: 1)],
            verify: verify.map { [SQLStatement(text: $0, line: 2)] } ?? [],
            isTransactional: change == nil && text != "VACUUM", canonicalChecksum: canonical ?? "c\(version)",
            rawChecksum: "r\(version)", indexChange: change)
    }

    private static func record(
        _ version: Int, _ state: MigrationRecord.State = .applied, canonical: String? = nil, raw: String? = nil,
        title: String? = nil, source: String = "app"
    ) -> MigrationRecord {
        MigrationRecord(
            source: source, version: version, title: title ?? "m\(version)",
            canonicalChecksum: canonical ?? "c\(version)", rawChecksum: raw ?? "r\(version)", state: state)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var set: [Migration] = [1, 2, 3].map { MigrationPlannerTests.migration($0) }
        var history: [MigrationRecord] = []
        var target: Int?
        var allowsOutOfOrder = false
        var allowsRepeated = false
        var steps: [Int] = []
        var resumed: [Int] = []
        var problems: [MigrationProblem] = []
        var notes: [MigrationPlan.Note] = []
    }

    @Test(arguments: [
        Case(testDescription: "an empty database", steps: [1, 2, 3]),
        Case(testDescription: "an empty database up to 2", target: 2, steps: [1, 2]),
        Case(testDescription: "nothing pending", history: [record(1), record(2), record(3)]),
        Case(testDescription: "one pending", history: [record(1), record(2)], steps: [3]),
        Case(testDescription: "a target behind", history: [record(1), record(2)], target: 1),
        Case(
            testDescription: "an unknown target", history: [record(1)], target: 9, steps: [2, 3],
            problems: [.unknownTarget(version: 9)]),
        Case(
            testDescription: "another source's rows", history: [record(1, canonical: "x", source: "other")],
            steps: [1, 2, 3]),
        Case(
            testDescription: "an edited file", history: [record(1, canonical: "x"), record(2), record(3)],
            problems: [.checksumChanged(version: 1, recorded: "x", current: "c1")]),
        Case(
            testDescription: "other line ends", history: [record(1, raw: "x"), record(2), record(3)],
            notes: [.differsInBlanksOnly(version: 1)]),
        Case(
            testDescription: "another title", history: [record(1, title: "old"), record(2), record(3)],
            notes: [.renamed(version: 1, from: "old")]),
        Case(
            testDescription: "a newer database", history: [record(1), record(2), record(3), record(4)],
            problems: [.unknownVersion(version: 4, title: "m4", isNewer: true)]),
        Case(
            testDescription: "a lost file", set: [migration(1), migration(3)],
            history: [record(1), record(2), record(3)],
            problems: [.unknownVersion(version: 2, title: "m2", isNewer: false)]),
        Case(
            testDescription: "a late file", history: [record(1), record(3)], steps: [2],
            problems: [.outOfOrder(version: 2, newestApplied: 3)]),
        Case(
            testDescription: "a late file, allowed", history: [record(1), record(3)], allowsOutOfOrder: true,
            steps: [2],
            notes: [.late(version: 2, newestApplied: 3)]),
        Case(
            testDescription: "failed clean before", history: [record(1), record(2, .failedClean, canonical: "x")],
            steps: [2, 3], notes: [.failedBefore(version: 2, error: nil)]),
        Case(
            testDescription: "C15: the directory goes by another name",
            history: [record(1, source: "old"), record(2, source: "old")], steps: [1, 2, 3],
            problems: [.sourceMoved(version: 1, from: "old"), .sourceMoved(version: 2, from: "old")]),
        Case(
            testDescription: "C15: a second time on purpose", history: [record(1, source: "old")], allowsRepeated: true,
            steps: [1, 2, 3]),
        Case(
            testDescription: "C15: another source's other files", history: [record(1, canonical: "x", source: "old")],
            steps: [1, 2, 3]),
        Case(
            testDescription: "a failed version that is gone",
            history: [record(1), record(2), record(3), record(4, .failedClean)]),
        Case(
            testDescription: "broken off, nobody can tell", set: [migration(1), migration(2, "VACUUM")],
            history: [record(1), record(2, .failedUnknown)],
            problems: [.needsResolution(version: 2, state: .failedUnknown)]),
        Case(
            testDescription: "died while running", set: [migration(1), migration(2, "VACUUM")],
            history: [record(1), record(2, .running)], problems: [.needsResolution(version: 2, state: .running)]),
        Case(
            testDescription: "broken off, the index tells",
            set: [migration(1), migration(2, "CREATE INDEX CONCURRENTLY i ON t (a)"), migration(3)],
            history: [record(1), record(2, .running)], steps: [2, 3], resumed: [2],
            notes: [.failedBefore(version: 2, error: nil)]),
        Case(
            testDescription: "broken off, then edited: the new text's index tells nothing of the old one",
            set: [migration(1), migration(2, "CREATE INDEX CONCURRENTLY i ON t (a)", canonical: "new")],
            history: [record(1), record(2, .failedUnknown)],
            problems: [.needsResolution(version: 2, state: .failedUnknown)]),
        Case(
            testDescription: "C08: broken off, then given a verify query",
            set: [migration(1), migration(2, "VACUUM", canonical: "new", verify: "SELECT true")],
            history: [record(1), record(2, .failedUnknown)], steps: [2], resumed: [2],
            notes: [.failedBefore(version: 2, error: nil)]),
    ])
    func plans(_ example: Case) throws {
        let set = try MigrationSet(source: "app", lane: .tenant, migrations: example.set)
        let plan = MigrationPlanner(
            allowsOutOfOrder: example.allowsOutOfOrder, allowsRepeated: example.allowsRepeated
        )
        .plan(set, history: example.history, through: example.target)
        #expect(plan.steps.map(\.migration.version) == example.steps)
        #expect(plan.steps.filter(\.resumes).map(\.migration.version) == example.resumed)
        #expect(plan.problems == example.problems)
        #expect(plan.notes == example.notes)
    }

    /// C15: who gives both directories has moved none.
    @Test func aSourceThatIsGivenTooHasNotMoved() throws {
        let set = try MigrationSet(source: "app", lane: .tenant, migrations: [Self.migration(1)])
        let plan = MigrationPlanner().plan(set, history: [Self.record(1, source: "old")], others: ["old", "app"])
        #expect(plan.problems.isEmpty)
    }

    /// C01, C02, C08, C15: each difference names the verb that leads out.
    @Test(arguments: [
        (MigrationProblem.checksumChanged(version: 1, recorded: "a", current: "b"), "edited", "migrate rebless"),
        (.outOfOrder(version: 1, newestApplied: 2), "late", "--allow-out-of-order"),
        (.needsResolution(version: 1, state: .failedUnknown), "failed", "migrate resolve"),
        (.sourceMoved(version: 1, from: "old"), "moved", "--migrations DIRECTORY=old"),
        (.unknownVersion(version: 1, title: "a", isNewer: false), "missing", "restore the file"),
        (.unknownVersion(version: 1, title: "a", isNewer: true), "newer", "deploy"),
    ])
    func everyProblemNamesTheWayOut(_ problem: MigrationProblem, _ kind: String, _ way: String) {
        #expect(problem.kind == kind)
        #expect(problem.advice.contains(way))
    }

    @Test func everyProblemHasAnErrorOfItsOwn() {
        let problems: [(MigrationProblem, MigrationError.Code)] = [
            (.checksumChanged(version: 1, recorded: "a", current: "b"), .checksumChanged),
            (.unknownVersion(version: 1, title: "a", isNewer: true), .unknownVersion),
            (.outOfOrder(version: 1, newestApplied: 2), .outOfOrder),
            (.needsResolution(version: 1, state: .running), .needsResolution),
            (.unknownTarget(version: 1), .unknownTarget), (.sourceMoved(version: 1, from: "old"), .sourceMoved),
        ]
        for (problem, code) in problems {
            let error = problem.error(source: "app", schema: "acme")
            #expect(error.code == code)
            #expect(error.description.contains("schema acme"))
            #expect(error.description.contains(problem.advice))
        }
    }
}

@Suite struct RetryScheduleTests {
    private let schedule = RetrySchedule(first: .milliseconds(100), longest: .seconds(10))

    @Test(arguments: [(1, 100), (2, 200), (5, 1600), (7, 6400), (8, 10_000), (500, 10_000)])
    func doublesUpToALimit(attempt: Int, milliseconds: Int) {
        #expect(self.schedule.wait(afterAttempt: attempt, random: 1) == .milliseconds(milliseconds))
        #expect(self.schedule.wait(afterAttempt: attempt, random: 0) == .milliseconds(milliseconds) / 2)
    }
}
