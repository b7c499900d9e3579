package import Cloacina
import FoundationEssentials
import TestSupport
import Testing

/// What every store promises about a queue that holds more than one runner can take.
extension StoreConformance {
    package static let queue: [Check] = [
        Check(name: "what a runner can't take hides nothing that it can", run: Self.strandedHideNothing),
        Check(name: "what waited for a workflow or a version is taken in its place", run: Self.lateKnowledge),
        Check(name: "what goes back goes before what came later", run: Self.oldPlaces),
        Check(name: "the order is by priority and age, whatever the workflow and the version", run: Self.mixedOrder),
        Check(name: "a version is known for its own workflow only", run: Self.versionsOfWorkflows),
        Check(name: "a runner of very many workflows claims in the same order", run: Self.manyWorkflows),
        Check(name: "a claim takes what its bytes leave room for, and one at least", run: Self.claimBytes),
        Check(name: "a survey sees every workflow and version", run: Self.surveyedPlaces),
        Check(name: "what is stranded is seen part by part, each with few rows", run: Self.strandedParts),
        Check(name: "prune takes histories of very many lines", run: Self.longHistories),
    ]

    /// Makes a pipeline that has begun in the version "v1" and is back in the queue since a time.
    private static func requeued(
        _ number: Int, workflow: String = "w", priority: Int = 0, at seconds: Double, in store: any WorkflowStore
    ) async throws {
        let options = ExecutionOptions(priority: priority)
        _ = try await store.create([Self.new(number, workflow: workflow, options: options, at: Self.at(seconds))])
        let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Self.at(seconds), delta: ContextDelta())
        _ = try await store.apply([
            Self.change(number, status: .queued, dueAt: Self.at(seconds), events: [event], at: Self.at(seconds))
        ])
    }

    /// A workflow nobody here knows and a version nobody here knows, older and more urgent than all else.
    private static func stranded(in store: any WorkflowStore) async throws {
        let unknown = (1_000..<1_200).map {
            Self.new($0, workflow: "unknown", owner: nil, options: ExecutionOptions(priority: $0 % 3))
        }
        _ = try await store.create(unknown)
        for number in 2_000..<2_020 { try await Self.requeued(number, priority: number % 3, at: 0, in: store) }
    }

    private static func ids(_ claim: QueueClaim, in store: any WorkflowStore) async throws -> [UUID] {
        try await store.claim(claim).map(\.id)
    }

    static func strandedHideNothing(_ store: any WorkflowStore) async throws {
        try await Self.stranded(in: store)
        _ = try await store.create((1...9).map { Self.new($0, owner: nil, at: Self.at(Double($0))) })
        for first in stride(from: 1, through: 9, by: 3) {
            let claim = Self.claim(workflows: ["w": "v2"], limit: 3)
            #expect(try await Self.ids(claim, in: store) == (first..<first + 3).map(Self.id))
        }
        #expect(try await Self.ids(Self.claim(workflows: ["w": "v2"]), in: store).isEmpty)
        let left = try await store.list(PipelineQuery(statuses: [.queued], limit: 1_000))
        #expect(left.count == 220)
    }

    /// Whatever stands at the head, in however many workflows, what is behind it is looked at.
    static func strandedParts(_ store: any WorkflowStore) async throws {
        try await Self.stranded(in: store)
        // A workflow of its own each, some of them the runner's, and some that are due later.
        _ = try await store.create(
            (1...300).map { number in
                Self.new(
                    number, workflow: "w\(number)", owner: nil,
                    options: ExecutionOptions(delay: .seconds(number % 50 == 1 ? 1_000 : 0)))
            })
        let known = Dictionary(uniqueKeysWithValues: stride(from: 10, through: 300, by: 10).map { ("w\($0)", "v1") })
        let claim = QueueClaim(
            runner: Self.other, workflows: known.merging(["w": "v2"]) { $1 }, limit: 0, at: Self.at(100))
        let all = try await store.stranded(claim, dueBefore: Self.at(100), limit: 1_000)
        let expected = (1...300).filter { $0 % 10 != 0 && $0 % 50 != 1 } + Array(1_000..<1_200) + Array(2_000..<2_020)
        for limit in [7, 100, 1_000] {
            var (seen, place, parts) = ([StrandedPipeline](), StrandedPlace?.none, 0)
            repeat {
                let page = try await store.strandedPage(
                    claim, dueBefore: Self.at(100), after: place, limit: limit)
                #expect(page.pipelines.count <= limit)
                seen += page.pipelines
                place = page.next
                parts += 1
            } while place != nil && parts < 1_000
            #expect(parts <= 560 / limit + 1, "\(parts)")
            #expect(seen.count == expected.count && Set(seen.map(\.id)) == Set(expected.map(Self.id)))
            // Of more than a hundred workflows, the others are not in one look.
            #expect(Set(all).isSubset(of: Set(seen)))
        }
    }

    static func lateKnowledge(_ store: any WorkflowStore) async throws {
        try await Self.stranded(in: store)
        _ = try await store.create((1...4).map { Self.new($0, owner: nil, at: Self.at(Double($0))) })
        #expect(try await Self.ids(Self.claim(workflows: ["w": "v2"], limit: 2), in: store) == [1, 2].map(Self.id))
        let versions = QueueClaim(
            runner: Self.other, workflows: ["w": "v2"], earlier: ["w": ["v1"]], limit: 7, at: Self.at(100))
        // The most urgent ones of the version that is known now.
        let urgent = (2_000..<2_020).filter { $0 % 3 == 2 }
        #expect(try await Self.ids(versions, in: store) == urgent.prefix(7).map(Self.id))
        let workflows = Self.claim(workflows: ["w": "v2", "unknown": "v1"], limit: 3)
        #expect(try await Self.ids(workflows, in: store) == [1_001, 1_004, 1_007].map(Self.id))
        #expect(try await Self.ids(Self.claim(workflows: ["w": "v2"]), in: store) == [3, 4].map(Self.id))
    }

    static func oldPlaces(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...6).map { Self.new($0, owner: nil, at: Self.at(Double($0))) })
        #expect(try await Self.ids(Self.claim(limit: 4), in: store) == [1, 2, 3, 4].map(Self.id))
        // One that has begun, and one that no task of has; a clock that is behind puts one more before both.
        let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Self.at(101), delta: ContextDelta())
        _ = try await store.apply([
            Self.change(3, revision: 2, status: .queued, dueAt: Self.at(3), events: [event]),
            Self.change(2, revision: 2, status: .queued, dueAt: Self.at(2)),
        ])
        _ = try await store.create([Self.new(7, owner: nil, at: Self.at(0.5))])
        #expect(try await Self.ids(Self.claim(limit: 2), in: store) == [7, 2].map(Self.id))
        #expect(try await Self.ids(Self.claim(), in: store) == [3, 5, 6].map(Self.id))
    }

    static func mixedOrder(_ store: any WorkflowStore) async throws {
        var random = SeededGenerator(seed: 7)
        let workflows = ["a", "b b", "c'\"", "ü", "z"]
        var waiting: [(number: Int, workflow: String, priority: Int, age: Int)] = []
        for number in 1...150 {
            let workflow = workflows[Int.random(in: 0..<5, using: &random)]
            let priority = [-7, 0, 0, 9][Int.random(in: 0..<4, using: &random)]
            let age = Int.random(in: 0..<30, using: &random)
            waiting.append((number, workflow, priority, age))
            if Bool.random(using: &random) {
                try await Self.requeued(
                    number, workflow: workflow, priority: priority, at: Double(age), in: store)
            } else {
                let options = ExecutionOptions(priority: priority)
                _ = try await store.create([
                    Self.new(number, workflow: workflow, owner: nil, options: options, at: Self.at(Double(age)))
                ])
            }
        }
        let known = ["a": "v1", "b b": "v1", "ü": "v1", "z": "v1"]
        let expected = waiting.filter { known[$0.workflow] != nil }
            .sorted { ($1.priority, $0.age, $0.number) < ($0.priority, $1.age, $1.number) }.map { Self.id($0.number) }
        var claimed: [UUID] = []
        while case let more = try await Self.ids(Self.claim(workflows: known, limit: 7), in: store), !more.isEmpty {
            claimed += more
        }
        #expect(claimed == expected)
    }

    static func versionsOfWorkflows(_ store: any WorkflowStore) async throws {
        for (number, workflow) in [(1, "a"), (2, "b")] {
            try await Self.requeued(number, workflow: workflow, at: Double(number), in: store)
        }
        var claim = QueueClaim(
            runner: Self.other, workflows: ["a": "v2", "b": "v1"], limit: 10, at: Self.at(100))
        #expect(try await Self.ids(claim, in: store) == [Self.id(2)])
        claim = QueueClaim(
            runner: Self.other, workflows: ["a": "v2", "b": "v2"], earlier: ["a": ["v0", "v1"]], limit: 10,
            at: Self.at(100))
        #expect(try await Self.ids(claim, in: store) == [Self.id(1)])
    }

    static func manyWorkflows(_ store: any WorkflowStore) async throws {
        try await Self.stranded(in: store)
        let names = (0..<300).map { "w\($0)" }
        // Every second one has something to do, in the order of their numbers backwards.
        let numbers = Array(stride(from: 298, through: 0, by: -2))
        _ = try await store.create(
            numbers.enumerated().map {
                Self.new($0.element + 1, workflow: names[$0.element], owner: nil, at: Self.at(Double($0.offset) / 10))
            })
        try await Self.requeued(301, workflow: "w7", priority: 1, at: 50, in: store)
        try await Self.requeued(302, workflow: "w8", priority: -1, at: 0, in: store)
        let known = Dictionary(uniqueKeysWithValues: names.map { ($0, "v1") })
        let first = try await Self.ids(Self.claim(workflows: known, limit: 100), in: store)
        let rest = try await Self.ids(Self.claim(workflows: known, limit: 1_000), in: store)
        #expect(first.count == 100)
        #expect(first + rest == ([301] + numbers.map { $0 + 1 } + [302]).map(Self.id))
    }

    static func claimBytes(_ store: any WorkflowStore) async throws {
        let input = try Context(["x": .string(String(repeating: "x", count: 10_000))])
        _ = try await store.create((1...20).map { Self.new($0, owner: nil, input: input, at: Self.at(Double($0))) })
        var claim = Self.claim()
        // It ends with the one that reaches the limit.
        claim.byteLimit = 35_000
        #expect(try await Self.ids(claim, in: store) == (1...4).map(Self.id))
        for (limit, number) in [(1, 5), (0, 6), (-1, 7)] {
            claim.byteLimit = limit
            #expect(try await Self.ids(claim, in: store) == [Self.id(number)])
        }
        claim.byteLimit = .max
        #expect(try await Self.ids(claim, in: store).count == 13)
    }

    static func surveyedPlaces(_ store: any WorkflowStore) async throws {
        for (number, workflow) in ["a", "b", "c"].enumerated() {
            let options = ExecutionOptions(delay: .seconds(10 + number))
            _ = try await store.create([Self.new(number, workflow: workflow, owner: nil, options: options)])
        }
        try await Self.requeued(9, workflow: "b", priority: -3, at: 5, in: store)
        for (time, isDue, next) in [(1.0, false, 5.0), (5, true, 10), (10.5, true, 11), (11, true, 12)] {
            let survey = try await store.survey(everyOwner: false, at: Self.at(time))
            #expect(survey.isDue == isDue && survey.nextDue == Self.at(next), "\(time)")
        }
        #expect(try await store.survey(everyOwner: false, at: Self.at(12)).nextDue == nil)
    }

    static func longHistories(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...4).map { Self.new($0) })
        let events = (0..<12_000).map { PipelineEvent(.taskFailed, task: "t", attempt: $0, at: Self.at(1)) }
        for number in 1...3 {
            _ = try await store.apply([Self.change(number, status: .failed, events: number == 3 ? [] : events)])
        }
        _ = try await store.apply([Self.change(4, events: events)])
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 2) == 2)
        #expect(try await store.list(PipelineQuery()).map(\.id) == [4, 3].map(Self.id))
        for number in 1...2 {
            #expect(try await store.events(EventQuery(pipeline: Self.id(number), limit: 1)).isEmpty)
        }
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 100) == 1)
        #expect(try await store.load(Self.id(4))?.events.count == 12_001)
    }

    /// Makes pipelines that have ended, with so many lines each.
    package static func fillHistories(of count: Int, lines: Int, in store: any WorkflowStore) async throws {
        _ = try await store.create((1...count).map { Self.new($0) })
        let events = (1..<lines).map { PipelineEvent(.taskFailed, task: "t", attempt: $0, at: Self.at(1)) }
        _ = try await store.apply((1...count).map { Self.change($0, status: .failed, events: events) })
    }

    /// Deletes all that has ended.
    package static func pruneAll(in store: any WorkflowStore) async throws -> Int {
        try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 1_000)
    }
}
