package import Cloacina
package import FoundationEssentials
import Testing

/// What every store promises. Each check is given an empty store of its own.
package enum StoreConformance {
    /// One promise.
    package struct Check: Sendable, CustomTestStringConvertible {
        let name: String
        package let run: @Sendable (any WorkflowStore) async throws -> Void

        package var testDescription: String { self.name }
    }

    package static let all =
        Self.general + Self.aging + Self.requesting + Self.events + Self.keys + Self.callers + Self.queue

    private static let general: [Check] = [
        Check(name: "a pipeline comes back as it was stored", run: Self.comesBack),
        Check(name: "a key has one pipeline", run: Self.oneForEachKey),
        Check(name: "a new pipeline twice is one", run: Self.creationIsIdempotent),
        Check(name: "a stale change stores nothing, its neighbours are stored", run: Self.staleChanges),
        Check(name: "a change of another owner's stores nothing", run: Self.onlyTheOwnersChanges),
        Check(name: "a change is stored as a whole", run: Self.wholeChanges),
        Check(name: "the end gives up the claim", run: Self.endings),
        Check(name: "claims go by priority, then by age", run: Self.claimOrder),
        Check(name: "what has begun is claimed by its version only", run: Self.claimVersions),
        Check(name: "what is due and would not be claimed is stranded", run: Self.stranded),
        Check(name: "a delay holds back", run: Self.delays),
        Check(name: "only the runner of a running pipeline hears what is asked", run: Self.requests),
        Check(name: "recovery needs the right number of beats", run: Self.recovery),
        Check(name: "owners that never said anything are known", run: Self.silentOwners),
        Check(name: "lists come in pages, the newest first", run: Self.pages),
        Check(name: "prune takes what is old, with its key", run: Self.pruning),
        Check(name: "of many claims at once each pipeline has one", run: Self.concurrentClaims),
        Check(name: "of many changes at once one is stored", run: Self.concurrentChanges),
        Check(name: "of many creations at once a key has one", run: Self.concurrentKeys),
        Check(name: "a large batch and large values", run: Self.large),
        Check(name: "a cancelled task still writes and reads", run: Self.cancelled),
    ]

    // MARK: Means

    /// In the past of every database's clock, so that what is due by these times is due by that too.
    package static let start = Date(timeIntervalSince1970: 1_700_000_000)

    package static func at(_ seconds: Double) -> Date { self.start.addingTimeInterval(seconds) }

    /// The n-th id; greater for greater n.
    package static func id(_ number: Int) -> UUID {
        var bytes = [UInt8](repeating: 0, count: 16)
        for index in 0..<8 { bytes[15 - index] = UInt8(truncatingIfNeeded: number >> (8 * index)) }
        bytes[6] = 0x70
        return UUID(
            uuid: (
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9],
                bytes[10],
                bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]
            ))
    }

    package static let runner = Self.id(1_000_001)
    package static let other = Self.id(1_000_002)

    package static func new(
        _ number: Int, workflow: String = "w", owner: UUID? = Self.runner,
        options: ExecutionOptions = ExecutionOptions(),
        input: Context = Context(), at: Date = Self.start, parent: UUID? = nil
    ) -> NewPipeline {
        NewPipeline(
            id: self.id(number), workflow: workflow, version: "v1", input: input, options: options, owner: owner,
            at: at,
            parent: parent)
    }

    package static func change(
        _ number: Int, owner: UUID? = nil, revision: Int = 1, epoch: Int = 1, status: PipelineStatus = .running,
        dueAt: Date? = nil,
        events: [PipelineEvent] = [], at: Date = Self.at(1)
    ) -> PipelineChange {
        var transition = PipelineTransition(expectedRevision: revision)
        transition.status = status
        transition.dueAt = dueAt
        transition.events = events
        return PipelineChange(id: self.id(number), owner: owner, epoch: epoch, at: at, transition: transition)
    }

    package static func claim(
        _ runner: UUID = Self.other, workflows: [String: String] = ["w": "v1"], limit: Int = 100,
        at: Date = Self.at(100)
    ) -> QueueClaim {
        QueueClaim(runner: runner, workflows: workflows, limit: limit, at: at)
    }

    // MARK: Creating and changing

    static func comesBack(_ store: any WorkflowStore) async throws {
        let input = try Context(["a": .object(["b": .array([.null, .bool(false)])]), "ü": "\u{0}'\u{1F680}"])
        let options = ExecutionOptions(
            idempotencyKey: "key '\"; -- ü", priority: -7, delay: .seconds(2), timeout: .milliseconds(1_500))
        let queued = Self.new(1, workflow: "naïve %_", owner: nil, options: options, input: input)
        let running = Self.new(2, options: ExecutionOptions(priority: 9), input: input)
        #expect(try await store.create([queued, running]) == [.created, .created])
        let first = try #require(try await store.load(Self.id(1)))
        #expect(first.workflow == "naïve %_" && first.version == "v1" && first.status == .queued)
        #expect(first.revision == 1 && first.epoch == 0 && first.owner == nil && first.recoveries == 0)
        #expect(first.priority == -7 && first.timeout == .milliseconds(1_500) && first.input == input)
        #expect(first.createdAt == Self.start && first.startedAt == nil && first.endedAt == nil)
        #expect(first.dueAt == Self.at(2) && first.request == nil && first.idempotencyKey == "key '\"; -- ü")
        #expect(first.events == [PipelineEvent(.pipelineQueued, at: Self.start, dueAt: Self.at(2))])
        let second = try #require(try await store.load(Self.id(2)))
        #expect(second.status == .running && second.epoch == 1 && second.owner == Self.runner)
        #expect(second.startedAt == Self.start && second.dueAt == nil && second.timeout == nil)
        #expect(second.events == [PipelineEvent(.pipelineStarted, worker: Self.runner, at: Self.start)])
        #expect(try await store.load(Self.id(3))?.id == nil)
    }

    static func oneForEachKey(_ store: any WorkflowStore) async throws {
        let key = ExecutionOptions(idempotencyKey: "k")
        let answers = try await store.create([Self.new(1, options: key), Self.new(2, options: key), Self.new(3)])
        #expect(answers == [.created, .exists(Self.id(1)), .created])
        #expect(try await store.create([Self.new(4, options: key)]) == [.exists(Self.id(1))])
        #expect(try await store.load(Self.id(2))?.id == nil)
        #expect(try await store.load(Self.id(1))?.events.count == 1)
    }

    static func creationIsIdempotent(_ store: any WorkflowStore) async throws {
        let new = Self.new(1, options: ExecutionOptions(idempotencyKey: "k"))
        #expect(try await store.create([new]) == [.created])
        #expect(try await store.create([new, Self.new(2)]) == [.exists(new.id), .created])
        #expect(try await store.load(new.id)?.events.count == 1)
        #expect(try await store.create([]) == [])
    }

    static func staleChanges(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...4).map { Self.new($0) })
        let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Self.at(1), delta: ContextDelta())
        let answers = try await store.apply([
            Self.change(1, revision: 2, events: [event]), Self.change(2, epoch: 2, events: [event]),
            Self.change(3, events: [event]), Self.change(99, events: [event]),
            Self.change(4, revision: 0, events: [event]),
        ])
        #expect(answers == [.stale, .stale, .applied(nil), .stale, .stale])
        for number in [1, 2, 4] {
            let untouched = try #require(try await store.load(Self.id(number)))
            #expect(untouched.revision == 1 && untouched.events.count == 1)
        }
        #expect(try await store.load(Self.id(3))?.events.last == event)
        #expect(try await store.apply([Self.change(3, events: [event])]) == [.stale])
        #expect(try await store.load(Self.id(3))?.events.count == 2)
    }

    /// The numbers alone are given again by a server that lost its last commits.
    static func onlyTheOwnersChanges(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...4).map { Self.new($0) })
        let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Self.at(1), delta: ContextDelta())
        #expect(try await store.apply([Self.change(1, owner: Self.other, events: [event])]) == [.stale])
        #expect(try await store.apply([Self.change(1, owner: Self.runner, events: [event])]) == [.applied(nil)])
        let answers = try await store.apply([
            Self.change(2, owner: Self.other, events: [event]), Self.change(3, owner: Self.runner, events: [event]),
            Self.change(4, events: [event]),
        ])
        #expect(answers == [.stale, .applied(nil), .applied(nil)])
        #expect(try await store.load(Self.id(2))?.events.count == 1)
        // Nobody's is no runner's.
        #expect(try await store.apply([Self.change(3, revision: 2, status: .paused)]) == [.applied(nil)])
        #expect(
            try await store.apply([Self.change(3, owner: Self.runner, revision: 3, status: .cancelled)]) == [.stale])
    }

    static func wholeChanges(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1)])
        let delta = ContextDelta(["a": .set(1), "b": .removed, "c": .merged(ContextDelta(["\u{0}": .set("\u{0}")]))])
        let events = [
            PipelineEvent(
                .taskCompleted, task: "ta'sk ü", attempt: 3, worker: Self.runner, startedAt: Self.at(0.5),
                at: Self.at(1),
                delta: delta),
            PipelineEvent(.taskRetrying, task: "t", attempt: 1, at: Self.at(1), detail: "no\nluck", dueAt: Self.at(60)),
            PipelineEvent(.taskSkipped, task: "s", at: Self.at(1), detail: ""),
        ]
        #expect(try await store.apply([Self.change(1, events: events)]) == [.applied(nil)])
        #expect(try await store.apply([Self.change(1, revision: 2, events: [])]) == [.applied(nil)])
        let stored = try #require(try await store.load(Self.id(1)))
        #expect(stored.revision == 3 && stored.status == .running && stored.owner == Self.runner)
        #expect(stored.events.dropFirst() == events[...])
    }

    static func endings(_ store: any WorkflowStore) async throws {
        let states: [PipelineStatus] = [.completed, .failed, .cancelled, .paused, .queued]
        for (number, status) in states.enumerated() {
            _ = try await store.create([Self.new(number)])
            let due = status == .queued ? Self.at(5) : nil
            #expect(try await store.apply([Self.change(number, status: status, dueAt: due)]) == [.applied(nil)])
            let stored = try #require(try await store.load(Self.id(number)))
            #expect(stored.status == status && stored.owner == nil && stored.dueAt == due && stored.epoch == 1)
            #expect(stored.endedAt == (status.isTerminal ? Self.at(1) : nil))
        }
    }

    // MARK: The queue

    static func claimOrder(_ store: any WorkflowStore) async throws {
        _ = try await store.create([
            Self.new(1, owner: nil, at: Self.at(1)), Self.new(2, owner: nil, at: Self.at(2)),
            Self.new(3, owner: nil, options: ExecutionOptions(priority: 5), at: Self.at(3)),
            Self.new(4, owner: nil, options: ExecutionOptions(priority: -5), at: Self.at(0)),
            Self.new(5, workflow: "unknown", owner: nil), Self.new(6),
        ])
        #expect(try await store.claim(Self.claim(limit: 0)).isEmpty)
        #expect(try await store.claim(Self.claim(workflows: [:])).isEmpty)
        var order: [UUID] = []
        for _ in 0..<5 { order += try await store.claim(Self.claim(limit: 1)).map(\.id) }
        #expect(order == [3, 1, 2, 4].map(Self.id))
        let claimed = try #require(try await store.load(Self.id(3)))
        #expect(
            claimed.status == .running && claimed.revision == 2 && claimed.epoch == 1 && claimed.owner == Self.other)
        #expect(claimed.startedAt == Self.at(100) && claimed.dueAt == nil && claimed.events.count == 2)
        #expect(claimed.events.last == PipelineEvent(.pipelineStarted, worker: Self.other, at: Self.at(100)))
    }

    static func claimVersions(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1, owner: nil), Self.new(2)])
        let event = PipelineEvent(.pipelineReleased, worker: Self.runner, at: Self.at(1))
        _ = try await store.apply([Self.change(2, status: .queued, dueAt: Self.at(1), events: [event])])
        let newer = try await store.claim(Self.claim(workflows: ["w": "v2"]))
        // What waits from the beginning begins in the version of who takes it.
        #expect(newer.map(\.id) == [Self.id(1)] && newer.map(\.version) == ["v2"])
        let older = try await store.claim(Self.claim(workflows: ["w": "v1", "x": "v1"]))
        #expect(older.map(\.id) == [Self.id(2)] && older.map(\.startedAt) == [Self.start] && older.map(\.epoch) == [2])
        #expect(older.first?.events.map(\.kind) == [.pipelineStarted, .pipelineReleased, .pipelineStarted])
    }

    /// Of each priority, the oldest first; nothing of what the claim would take, and nothing that is not due.
    static func stranded(_ store: any WorkflowStore) async throws {
        _ = try await store.create([
            Self.new(1, owner: nil), Self.new(2, workflow: "gone", owner: nil),
            Self.new(3, workflow: "gone", owner: nil, options: ExecutionOptions(priority: 5)),
            Self.new(4, workflow: "gone", owner: nil, at: Self.at(-1)),
            Self.new(5, workflow: "gone", owner: nil, options: ExecutionOptions(delay: .seconds(60))),
            Self.new(6), Self.new(7, workflow: "gone"),
        ])
        // Those that have begun go back, each with its version.
        _ = try await store.apply([6, 7].map { Self.change($0, status: .queued, dueAt: Self.at(1)) })
        func found(_ claim: QueueClaim, limit: Int = 100) async throws -> [String] {
            try await store.stranded(claim, dueBefore: Self.at(2), limit: limit).map { pipeline in
                "\(pipeline.id.uuidString.suffix(1)) \(pipeline.reason)"
            }
        }
        func claim(_ workflows: [String: String], earlier: [String: Set<String>] = [:]) -> QueueClaim {
            QueueClaim(runner: Self.other, workflows: workflows, earlier: earlier, limit: 0, at: Self.at(2))
        }
        let all = [
            "3 unknown_workflow", "4 unknown_workflow", "2 unknown_workflow", "6 unknown_version", "7 unknown_workflow",
        ]
        #expect(try await found(claim(["w": "v2"])) == all)
        #expect(try await found(claim(["w": "v2"]), limit: 2) == Array(all.prefix(2)))
        #expect(try await found(claim(["w": "v2"]), limit: -1).isEmpty)
        #expect(try await found(claim(["w": "v2"], earlier: ["w": ["v1"]])) == all.filter { !$0.hasPrefix("6") })
        #expect(try await found(claim(["w": "v1", "gone": "v9"])) == ["7 unknown_version"])
        #expect(try await found(claim(["w": "v1", "gone": "v9"], earlier: ["gone": ["v1"]])).isEmpty)
    }

    static func delays(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1, owner: nil, options: ExecutionOptions(delay: .seconds(10)))])
        #expect(try await store.claim(Self.claim(at: Self.at(9.9))).isEmpty)
        #expect(try await store.claim(Self.claim(at: Self.at(10))).map(\.id) == [Self.id(1)])
        #expect(try await store.claim(Self.claim(at: Self.at(11))).isEmpty)
    }

    // MARK: Runners

    static func requests(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2, owner: nil), Self.new(3)])
        for number in [1, 2, 99] { try await store.ask(.pause, of: Self.id(number)) }
        try await store.ask(.resume, of: Self.id(1))
        let ids = [1, 2, 3, 99].map(Self.id)
        #expect(try await store.beat(Self.other, number: 1, pipelines: ids, at: Self.at(1)) == BeatAnswer())
        let mine = Set([1, 3].map(Self.id))
        let answer = try await store.beat(Self.runner, number: 1, pipelines: ids, at: Self.at(1))
        #expect(answer == BeatAnswer(held: mine, requests: [Self.id(1): .resume]))
        #expect(try await store.beat(Self.runner, number: 2, pipelines: [], at: Self.at(2)) == BeatAnswer())
        #expect(try await store.load(Self.id(2))?.request == nil)
        #expect(try await store.apply([Self.change(1), Self.change(3)]) == [.applied(.resume), .applied(nil)])
        // Nothing takes a cancel back.
        for request in [PipelineRequest.cancel, .pause, .resume] { try await store.ask(request, of: Self.id(1)) }
        #expect(try await store.apply([Self.change(1, revision: 2)]) == [.applied(.cancel)])
        #expect(try await store.beats(everyOwner: false) == [Self.other: 1, Self.runner: 2])
        try await store.leave(Self.other)
        #expect(try await store.beats(everyOwner: false) == [Self.runner: 2])
    }

    static func recovery(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2), Self.new(3, owner: Self.other), Self.new(4)])
        _ = try await store.apply([Self.change(4, status: .completed)])
        for number in 1...2 {
            _ = try await store.beat(Self.runner, number: number, pipelines: [], at: Self.at(1))
        }
        #expect(try await store.recover(Self.runner, beats: 1, by: UUID(), at: Self.at(9)) == 0)
        #expect(try await store.recover(Self.runner, beats: 0, by: UUID(), at: Self.at(9)) == 0)
        #expect(try await store.recover(Self.runner, beats: 2, by: Self.other, at: Self.at(9)) == 2)
        #expect(try await store.recover(Self.runner, beats: 2, by: UUID(), at: Self.at(9)) == 0)
        #expect(try await store.recover(Self.runner, beats: 0, by: UUID(), at: Self.at(9)) == 0)
        let recovered = try #require(try await store.load(Self.id(1)))
        #expect(
            recovered.status == .queued && recovered.revision == 2 && recovered.epoch == 2 && recovered.owner == nil)
        // It waits where it would have, had it never been claimed.
        #expect(recovered.dueAt == Self.start && recovered.recoveries == 1)
        // No task has a line, so it begins anew, with whatever version comes next.
        #expect(recovered.startedAt == nil)
        #expect(
            recovered.events.last
                == PipelineEvent(
                    .pipelineRecovered, worker: Self.other, at: Self.at(9), reason: .runnerDied,
                    detail: PipelineEvent.recovery(of: Self.runner)))
        // Whoever was taken for dead comes too late.
        #expect(try await store.apply([Self.change(1)]) == [.stale])
        let claimed = try await store.claim(Self.claim())
        #expect(Set(claimed.map(\.id)) == [Self.id(1), Self.id(2)] && claimed.allSatisfy { $0.epoch == 3 })
        #expect(try await store.apply([Self.change(1, revision: 3)]) == [.stale])
        #expect(try await store.load(Self.id(3))?.owner == Self.other)
        // One that never said anything.
        #expect(try await store.recover(Self.other, beats: 0, by: UUID(), at: Self.at(200)) == 3)
    }

    static func silentOwners(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2, owner: Self.other), Self.new(3, owner: Self.id(77))])
        _ = try await store.apply([Self.change(3, status: .completed)])
        _ = try await store.beat(Self.runner, number: 1, pipelines: [], at: Self.at(1))
        #expect(try await store.beats(everyOwner: false) == [Self.runner: 1])
        #expect(try await store.beats(everyOwner: true) == [Self.runner: 1, Self.other: 0])
    }

    // MARK: Reading and deleting

    static func pages(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...300).map { Self.new($0, workflow: $0 % 3 == 0 ? "third" : "w") })
        _ = try await store.apply([Self.change(3, status: .failed), Self.change(4, status: .completed)])
        var (query, seen) = (PipelineQuery(limit: 70), [UUID]())
        while true {
            let page = try await store.list(query)
            guard let last = page.last else { break }
            seen += page.map(\.id)
            query.after = last.id
        }
        #expect(seen == (1...300).reversed().map(Self.id))
        #expect(try await store.list(PipelineQuery()).count == 50)
        #expect(try await store.list(PipelineQuery(limit: 0)).isEmpty)
        #expect(try await store.list(PipelineQuery(limit: -1)).isEmpty)
        let ended = try await store.list(PipelineQuery(statuses: [.failed, .completed]))
        #expect(ended.map(\.id) == [Self.id(4), Self.id(3)] && ended.map(\.endedAt) == [Self.at(1), Self.at(1)])
        #expect(try await store.list(PipelineQuery(workflow: "third", statuses: [.failed])).map(\.id) == [Self.id(3)])
        #expect(
            try await store.list(PipelineQuery(workflow: "third", after: Self.id(7))).map(\.id) == [6, 3].map(Self.id))
        #expect(try await store.list(PipelineQuery(workflow: "none")).isEmpty)
    }

    static func pruning(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...6).map { Self.new($0, options: ExecutionOptions(idempotencyKey: "k\($0)")) })
        for number in 1...5 {
            _ = try await store.apply([Self.change(number, status: .completed, at: Self.at(Double(number)))])
        }
        #expect(try await store.prune(endedBefore: Self.at(1), below: Self.id(1_000), limit: 100) == 0)
        #expect(try await store.prune(endedBefore: Self.at(4), below: Self.id(1_000), limit: 0) == 0)
        #expect(try await store.prune(endedBefore: Self.at(4), below: Self.id(1_000), limit: 2) == 2)
        #expect(try await store.prune(endedBefore: Self.at(4), below: Self.id(1_000), limit: 2) == 1)
        #expect(try await store.list(PipelineQuery()).map(\.id) == [6, 5, 4].map(Self.id))
        #expect(try await store.load(Self.id(1))?.id == nil)
        #expect(try await store.create([Self.new(1, options: ExecutionOptions(idempotencyKey: "k2"))]) == [.created])
        #expect(try await store.load(Self.id(1))?.events.count == 1)
    }

    // MARK: Many at once

    static func concurrentClaims(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...200).map { Self.new($0, owner: nil) })
        let claimed = try await withThrowingTaskGroup(of: [UUID].self) { group in
            for runner in 0..<8 {
                group.addTask {
                    var mine: [UUID] = []
                    while true {
                        let claimed = try await store.claim(Self.claim(Self.id(2_000 + runner), limit: 7))
                        if claimed.isEmpty { return mine }
                        mine += claimed.map(\.id)
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(claimed.count == 200 && Set(claimed).count == 200)
    }

    static func concurrentChanges(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1)])
        for revision in 1...10 {
            let outcomes = try await withThrowingTaskGroup(of: StoreOutcome.self) { group in
                for number in 0..<8 {
                    let event = PipelineEvent(.taskFailed, task: "\(number)", attempt: 1, at: Self.at(1))
                    group.addTask {
                        try await store.apply([Self.change(1, revision: revision, events: [event])])[0]
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count { $0 == .applied(nil) } == 1)
        }
        #expect(try await store.load(Self.id(1))?.events.count == 11)
    }

    static func concurrentKeys(_ store: any WorkflowStore) async throws {
        let answers = try await withThrowingTaskGroup(of: [Creation].self) { group in
            for batch in 0..<8 {
                group.addTask {
                    try await store.create(
                        (0..<5).map { Self.new(batch * 5 + $0, options: ExecutionOptions(idempotencyKey: "k\($0)")) })
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(answers.count { $0 == .created } == 5)
        let listed = Set(try await store.list(PipelineQuery()).map(\.id))
        #expect(listed.count == 5)
        for case .exists(let id) in answers { #expect(listed.contains(id)) }
    }

    static func large(_ store: any WorkflowStore) async throws {
        let megabyte = String(repeating: "ü", count: 500_000)
        _ = try await store.create([Self.new(0, input: try Context(["m": .string(megabyte)]))])
        let news = (1...1_000).map { Self.new($0) }
        #expect(try await store.create(news).allSatisfy { $0 == .created })
        let events = (0..<300).map {
            PipelineEvent(.taskSkipped, task: "t\($0)", at: Self.at(1), detail: $0 == 0 ? megabyte : nil)
        }
        let changes = [Self.change(0, events: events)] + (1...1_000).map { Self.change($0, events: [events[1]]) }
        #expect(try await store.apply(changes).allSatisfy { $0 == .applied(nil) })
        let stored = try #require(try await store.load(Self.id(0)))
        #expect(stored.input["m"] == .string(megabyte))
        #expect(stored.events.dropFirst() == events[...])
    }

    static func cancelled(_ store: any WorkflowStore) async throws {
        let task = Task {
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            let created = try await store.create([Self.new(1), Self.new(2, owner: nil)])
            let applied = try await store.apply([Self.change(1, status: .cancelled)])
            let claimed = try await store.claim(Self.claim())
            let listed = try await store.list(PipelineQuery())
            return (created, applied, claimed.count, listed.count, try await store.load(Self.id(1))?.status)
        }
        let (created, applied, claimed, listed, status) = try await task.value
        #expect(created == [.created, .created] && applied == [.applied(nil)] && claimed == 1 && listed == 2)
        #expect(status == .cancelled)
    }
}
