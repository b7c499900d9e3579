import Cloacina
import FoundationEssentials
import Testing

/// What every store promises about the events of all pipelines.
extension StoreConformance {
    package static let events: [Check] = [
        Check(name: "events come by pipeline, the newest first, and each one's latest first", run: Self.eventOrder),
        Check(name: "events are chosen by kind, task and pipeline", run: Self.chosenEvents),
        Check(name: "pages of events leave out nothing and repeat nothing", run: Self.eventPages),
        Check(name: "what happens between two pages of events repeats nothing", run: Self.eventsBetweenPages),
        Check(name: "a page of events has at most what is asked for", run: Self.eventLimits),
        Check(name: "a deleted pipeline has no events, and pages go on behind it", run: Self.deletedEvents),
    ]

    /// Histories of several lines each: two by two of one change, and written in another order than the pipelines'.
    private static func eventfulPipelines(_ count: Int, in store: any WorkflowStore) async throws {
        _ = try await store.create((1...count).map { Self.new($0) })
        for number in (1...count).shuffled() {
            let first = [
                PipelineEvent(
                    .taskCompleted, task: "a", attempt: 1, worker: Self.runner, startedAt: Self.at(0.5),
                    at: Self.at(1), delta: ContextDelta(["number": .set(.string("\(number)"))])),
                PipelineEvent(.taskSkipped, task: "b", at: Self.at(1), detail: "no need"),
            ]
            let second = [
                PipelineEvent(.taskRetrying, task: "c", attempt: 1, at: Self.at(2), detail: "é'", dueAt: Self.at(9)),
                PipelineEvent(.taskCompleted, task: "ü", attempt: 1, at: Self.at(2), delta: ContextDelta()),
                PipelineEvent(.pipelineReleased, worker: Self.runner, at: Self.at(2)),
            ]
            let released = Self.change(number, revision: 2, status: .queued, dueAt: Self.at(2), events: second)
            #expect(try await store.apply([Self.change(number, events: first)]) == [.applied(nil)])
            #expect(try await store.apply([released]) == [.applied(nil)])
        }
    }

    /// What a store must answer, from the histories of its pipelines.
    private static func expected(
        _ numbers: some BidirectionalCollection<Int>, in store: any WorkflowStore,
        where isWanted: (PipelineEvent) -> Bool = { _ in true }
    ) async throws -> [[AnyHashable]] {
        var expected: [[AnyHashable]] = []
        for number in numbers.reversed() {
            let events = try #require(try await store.load(Self.id(number))).events
            expected += events.reversed().filter(isWanted).map { [Self.id(number), $0] }
        }
        return expected
    }

    private static func lines(_ events: [RecordedEvent]) -> [[AnyHashable]] { events.map { [$0.pipeline, $0.event] } }

    /// All pages of a query.
    private static func allEvents(_ query: EventQuery, in store: any WorkflowStore) async throws -> [RecordedEvent] {
        var (query, events) = (query, [RecordedEvent]())
        while true {
            let page = try await store.events(query)
            #expect(page.count <= query.limit)
            guard let last = page.last else { return events }
            events += page
            // One that repeats itself would never end.
            try #require(events.count < 1_000)
            query.after = last.cursor
        }
    }

    static func eventOrder(_ store: any WorkflowStore) async throws {
        #expect(try await store.events(EventQuery()).isEmpty)
        try await Self.eventfulPipelines(4, in: store)
        #expect(try await store.claim(Self.claim(limit: 2)).count == 2)
        let events = try await store.events(EventQuery())
        #expect(events.count == 4 * 6 + 2 && Set(events.map(\.cursor)).count == events.count)
        #expect(Self.lines(events) == (try await Self.expected(1...4, in: store)))
        let first = PipelineEvent(.pipelineStarted, worker: Self.runner, at: Self.start)
        #expect(events.last.map { Self.lines([$0]) } == [[Self.id(1), first]])
    }

    static func chosenEvents(_ store: any WorkflowStore) async throws {
        try await Self.eventfulPipelines(3, in: store)
        func answer(_ query: EventQuery) async throws -> [[AnyHashable]] { Self.lines(try await store.events(query)) }
        let completed = try await answer(EventQuery(kinds: [.taskCompleted]))
        #expect(completed == (try await Self.expected(1...3, in: store) { $0.kind == .taskCompleted }))
        #expect(completed.count == 6)
        let kinds: Set<PipelineEvent.Kind> = [.pipelineStarted, .taskRetrying]
        #expect(
            try await answer(EventQuery(kinds: kinds))
                == Self.expected(1...3, in: store) { kinds.contains($0.kind) })
        #expect(
            try await answer(EventQuery(kinds: Set(PipelineEvent.Kind.allCases)))
                == Self.expected(1...3, in: store))
        #expect(try await answer(EventQuery(task: "ü")) == Self.expected(1...3, in: store) { $0.task == "ü" })
        #expect(try await answer(EventQuery(pipeline: Self.id(2))) == Self.expected([2], in: store))
        let one = EventQuery(kinds: [.taskCompleted], task: "a", pipeline: Self.id(3))
        #expect(
            try await answer(one) == Self.expected([3], in: store) { $0.kind == .taskCompleted && $0.task == "a" })
        for nothing in [
            EventQuery(kinds: [.pipelineTimedOut]), EventQuery(task: ""), EventQuery(task: "none"),
            EventQuery(kinds: [.taskSkipped], task: "a"), EventQuery(pipeline: Self.id(4)),
        ] {
            #expect(try await answer(nothing).isEmpty)
        }
    }

    static func eventPages(_ store: any WorkflowStore) async throws {
        try await Self.eventfulPipelines(20, in: store)
        let all = try await Self.expected(1...20, in: store)
        for limit in [1, 2, 5, 6, 7, 119, 120, 121] {
            #expect(Self.lines(try await Self.allEvents(EventQuery(limit: limit), in: store)) == all)
        }
        let retries = EventQuery(kinds: [.taskRetrying], task: "c", limit: 3)
        #expect(
            Self.lines(try await Self.allEvents(retries, in: store))
                == (try await Self.expected(1...20, in: store) { $0.kind == .taskRetrying }))
        let one = EventQuery(pipeline: Self.id(7), limit: 4)
        #expect(Self.lines(try await Self.allEvents(one, in: store)) == (try await Self.expected([7], in: store)))
        // Another query may go on from a place as well.
        let events = try await store.events(EventQuery(limit: 120))
        let place = try #require(events.first { $0.pipeline == Self.id(7) }?.cursor)
        let later = try await store.events(EventQuery(pipeline: Self.id(6), after: place))
        #expect(Self.lines(later) == (try await Self.expected([6], in: store)))
        #expect(try await store.events(EventQuery(pipeline: Self.id(8), after: place)).isEmpty)
        #expect(try await store.events(EventQuery(pipeline: Self.id(7), after: place)).count == 5)
    }

    static func eventsBetweenPages(_ store: any WorkflowStore) async throws {
        try await Self.eventfulPipelines(5, in: store)
        let all = try await Self.expected(1...5, in: store)
        // Ends within the third one's events.
        let page = try await store.events(EventQuery(limit: 15))
        _ = try await store.create([Self.new(6)])
        #expect(try await store.claim(Self.claim()).count == 5)
        let rest = try await store.events(EventQuery(after: page.last?.cursor))
        let known = rest.filter { $0.event.worker != Self.other }
        #expect(Self.lines(page + known) == all)
        // Only where it comes later.
        #expect(rest.filter { $0.event.worker == Self.other }.map(\.pipeline) == [2, 1].map(Self.id))
    }

    static func eventLimits(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...150).map { Self.new($0) })
        for (limit, count) in [(0, 0), (-1, 0), (Int.min, 0), (1, 1), (149, 149), (Int.max, 150)] {
            #expect(try await store.events(EventQuery(limit: limit)).count == count)
        }
        let page = try await store.events(EventQuery())
        #expect(page.map(\.pipeline) == (51...150).reversed().map(Self.id))
    }

    static func deletedEvents(_ store: any WorkflowStore) async throws {
        try await Self.eventfulPipelines(3, in: store)
        let page = try await store.events(EventQuery(limit: 8))
        #expect(page.last?.pipeline == Self.id(2))
        let end = Self.change(2, revision: 3, status: .cancelled, at: Self.at(3))
        #expect(try await store.apply([end]) == [.applied(nil)])
        #expect(try await store.prune(endedBefore: Self.at(4), below: Self.id(1_000), limit: 10) == 1)
        #expect(try await store.events(EventQuery(pipeline: Self.id(2))).isEmpty)
        let rest = try await store.events(EventQuery(after: page.last?.cursor))
        #expect(Self.lines(rest) == (try await Self.expected([1], in: store)))
    }
}
