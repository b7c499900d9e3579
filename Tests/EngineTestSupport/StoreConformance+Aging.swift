import Cloacina
import FoundationEssentials
import Testing

/// What every store promises about runners that grow silent and pipelines that grow old.
extension StoreConformance {
    package static let aging: [Check] = [
        Check(name: "a heartbeat has the runner's own number", run: Self.ownNumbers),
        Check(name: "who has left is not silent", run: Self.leaving),
        Check(name: "who is killed while it stops has not died", run: Self.stopping),
        Check(name: "prune keeps the children of what has not ended", run: Self.keptChildren),
        Check(name: "children come in pages, by their ids", run: Self.childrenInPages),
        Check(name: "a standing tells whose a pipeline is, and a row what it began with", run: Self.standings),
        Check(name: "prune leaves alone what is younger than its bound", run: Self.pruneBound),
        Check(name: "each priority has its own queue, and a survey sees them all", run: Self.levels),
    ]

    static func ownNumbers(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2, owner: Self.other)])
        // A number is its runner's alone: neither counted nor compared here.
        for number in [41, 7] {
            let answer = try await store.beat(
                Self.runner, number: number, pipelines: [1, 2, 3].map(Self.id), at: Self.at(1))
            #expect(answer == BeatAnswer(held: [Self.id(1)]))
            #expect(try await store.beats(everyOwner: true) == [Self.runner: number, Self.other: 0])
        }
        // Somebody has counted before the last one.
        for number in [0, 1, 2, 6, 8, 41] {
            #expect(try await store.recover(Self.runner, beats: number, by: UUID(), at: Self.at(9)) == 0)
        }
        let held = try await store.beat(Self.runner, number: 8, pipelines: [Self.id(1)], at: Self.at(10))
        #expect(held.held == [Self.id(1)])
        #expect(try await store.recover(Self.runner, beats: 7, by: UUID(), at: Self.at(11)) == 0)
        #expect(try await store.recover(Self.runner, beats: 8, by: UUID(), at: Self.at(11)) == 1)
        let lost = try await store.beat(Self.runner, number: 9, pipelines: [Self.id(1)], at: Self.at(12))
        #expect(lost == BeatAnswer())
    }

    static func leaving(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2, owner: Self.other)])
        for runner in [Self.runner, Self.other] {
            _ = try await store.beat(runner, number: 5, pipelines: [], at: Self.at(1))
        }
        _ = try await store.apply([Self.change(1, status: .completed)])
        try await store.leave(Self.runner)
        try await store.leave(Self.runner)
        #expect(try await store.beats(everyOwner: true) == [Self.other: 5])
        #expect(try await store.recover(Self.runner, beats: 5, by: UUID(), at: Self.at(9)) == 0)
        #expect(try await store.load(Self.id(1))?.revision == 2)
    }

    static func stopping(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.new(1), Self.new(2, owner: Self.other), Self.new(3, owner: Self.id(7))])
        for (runner, isStopping) in [(Self.runner, false), (Self.other, false), (Self.other, true)] {
            _ = try await store.beat(
                runner, number: isStopping ? 2 : 1, pipelines: [], isStopping: isStopping, at: Self.at(1))
        }
        // The last has never said anything.
        for (runner, number) in [(Self.runner, 1), (Self.other, 2), (Self.id(7), 0)] {
            #expect(try await store.recover(runner, beats: number, by: Self.id(8), at: Self.at(9)) == 1)
        }
        for (number, reason) in [(1, PipelineEvent.Reason.runnerDied), (2, .runnerStopped), (3, .runnerDied)] {
            let last = try await store.load(Self.id(number))?.events.last
            #expect(last?.kind == .pipelineRecovered && last?.reason == reason)
        }
    }

    static func childrenInPages(_ store: any WorkflowStore) async throws {
        _ = try await store.create(
            (1...2_100).map { Self.new($0, owner: nil, parent: Self.id($0 % 10 == 0 ? 8_000 : 9_000)) })
        _ = try await store.apply([Self.change(7, revision: 1, epoch: 0, status: .cancelled)])
        var (pages, last) = ([[UUID]](), UUID?.none)
        while case let page = try await store.children(of: Self.id(9_000), after: last), let next = page.last {
            pages.append(page)
            last = next
        }
        #expect(pages.map(\.count) == [1_000, 889])
        #expect(pages.joined().elementsEqual((1...2_100).filter { $0 % 10 != 0 && $0 != 7 }.map(Self.id)))
    }

    static func standings(_ store: any WorkflowStore) async throws {
        let input = try Context(["x": 1])
        _ = try await store.create([Self.new(1, input: input), Self.new(2, owner: nil)])
        let change = Self.change(1, events: [PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Self.at(1))])
        _ = try await store.apply([change])
        #expect(
            try await store.standing(of: Self.id(1))
                == PipelineStanding(status: .running, revision: 2, epoch: 1, owner: Self.runner))
        #expect(
            try await store.standing(of: Self.id(2))
                == PipelineStanding(status: .queued, revision: 1, epoch: 0, owner: nil))
        #expect(try await store.standing(of: Self.id(3)) == nil)
        #expect(try await store.row(of: Self.id(1))?.input == input)
    }

    static func keptChildren(_ store: any WorkflowStore) async throws {
        let parents: [UUID?] = [Self.id(1), nil, Self.id(99), nil]
        let ended = zip(2..., parents).map { Self.new($0, parent: $1) }
        _ = try await store.create([Self.new(1)] + ended)
        #expect(try await store.children(of: Self.id(1), after: nil) == [Self.id(2)])
        _ = try await store.apply((2...5).map { Self.change($0, status: .completed) })
        #expect(try await store.children(of: Self.id(1), after: nil).isEmpty)
        // What is kept takes nobody's place.
        for _ in 0..<3 {
            #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 1) == 1)
        }
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 1) == 0)
        #expect(try await store.list(PipelineQuery()).map(\.id) == [2, 1].map(Self.id))
        #expect(try await store.load(Self.id(2))?.events.count == 1)
        _ = try await store.apply([Self.change(1, status: .failed, at: Self.at(100))])
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(1_000), limit: 100) == 1)
        #expect(try await store.list(PipelineQuery()).map(\.id) == [Self.id(1)])
    }

    static func pruneBound(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...4).map { Self.new($0) })
        _ = try await store.apply((1...4).map { Self.change($0, status: .completed) })
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(3), limit: 100) == 2)
        #expect(try await store.list(PipelineQuery()).map(\.id) == [4, 3].map(Self.id))
    }

    static func levels(_ store: any WorkflowStore) async throws {
        // Each of these priorities has one that is due from the start, and one more 10 s after the one before.
        let priorities = [Int.min, -7, 0, 3, Int.max].map { max(Int(Int16.min), min($0, Int(Int16.max))) }
        func survey(_ seconds: Double) async throws -> QueueSurvey {
            try await store.survey(everyOwner: false, at: Self.at(seconds))
        }
        #expect(try await survey(0) == QueueSurvey(beats: [:]))
        _ = try await store.create(
            priorities.enumerated().flatMap { index, priority in
                [0, 10 * (priorities.count - index)].map { delay in
                    Self.new(
                        100 * delay + index, owner: nil,
                        options: ExecutionOptions(priority: priority, delay: .seconds(delay)))
                }
            })
        // One that is nobody's to claim, and one that has nothing to wait for.
        _ = try await store.create([Self.new(9_001), Self.new(9_002)])
        _ = try await store.apply([Self.change(9_002, status: .paused)])
        #expect(try await survey(-1) == QueueSurvey(beats: [:], nextDue: Self.start))
        // What is due at the time of asking is due; what is due next is due later.
        #expect(try await survey(0) == QueueSurvey(beats: [:], isDue: true, nextDue: Self.at(10)))
        #expect(try await survey(10) == QueueSurvey(beats: [:], isDue: true, nextDue: Self.at(20)))
        #expect(try await survey(49.5) == QueueSurvey(beats: [:], isDue: true, nextDue: Self.at(50)))
        #expect(try await survey(50) == QueueSurvey(beats: [:], isDue: true))
        #expect(try await store.claim(Self.claim(at: Self.at(0))).map(\.id) == [4, 3, 2, 1, 0].map(Self.id))
        // Only those that wait for their time are left.
        #expect(try await survey(9.5) == QueueSurvey(beats: [:], nextDue: Self.at(10)))
        #expect(try await store.claim(Self.claim(at: Self.at(9.5))).isEmpty)
        // The most urgent first, although others wait for longer: a few of them, and then the rest.
        let first = try await store.claim(Self.claim(limit: 2, at: Self.at(30)))
        #expect(first.map(\.id) == [1_004, 2_003].map(Self.id))
        #expect(try await survey(30) == QueueSurvey(beats: [:], isDue: true, nextDue: Self.at(40)))
        #expect(try await store.claim(Self.claim(at: Self.at(30))).map(\.id) == [Self.id(3_002)])
        #expect(try await survey(30) == QueueSurvey(beats: [:], nextDue: Self.at(40)))
        #expect(try await store.claim(Self.claim(at: Self.at(50))).map(\.id) == [4_001, 5_000].map(Self.id))
        #expect(try await survey(50) == QueueSurvey(beats: [:]))
    }
}
