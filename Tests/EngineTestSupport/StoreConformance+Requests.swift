import Cloacina
import FoundationEssentials
import Testing

/// What every store promises about what is asked of a pipeline just as its runner is done with it.
extension StoreConformance {
    package static let requesting: [Check] = [
        Check(name: "what stands still keeps what takes that back", run: Self.keptRequests),
        Check(name: "what waits keeps what would stop it, and the end keeps nothing", run: Self.laterRequests),
        Check(name: "a cancel of what waits is found, for perhaps nobody can claim it", run: Self.waitingCancels),
        Check(name: "a claim may take any number", run: Self.largestClaim),
    ]

    /// Alone, and together with others in one call.
    static func keptRequests(_ store: any WorkflowStore) async throws {
        let requests: [(asked: [PipelineRequest], kept: PipelineRequest?)] = [
            ([.resume], .resume), ([.pause], nil), ([.pause, .resume], .resume), ([.resume, .pause], nil), ([], nil),
            ([.cancel], .cancel), ([.pause, .cancel, .resume], .cancel),
        ]
        let numbers = 1...requests.count
        for together in [false, true] {
            let first = together ? 100 : 0
            _ = try await store.create(numbers.map { Self.new(first + $0) })
            for (number, request) in zip(numbers, requests) {
                for asked in request.asked { try await store.ask(asked, of: Self.id(first + number)) }
            }
            let changes = numbers.map { Self.change(first + $0, status: .paused) }
            var outcomes: [StoreOutcome] = []
            for batch in together ? [changes] : changes.map({ [$0] }) { outcomes += try await store.apply(batch) }
            #expect(outcomes == requests.map { .applied($0.kept) })
            for (number, request) in zip(numbers, requests) {
                let stored = try #require(try await store.load(Self.id(first + number)))
                #expect(stored.status == .paused && stored.owner == nil && stored.request == request.kept)
                #expect(try await store.status(of: stored.id) == .paused)
            }
        }
        #expect(try await store.status(of: UUID()) == nil)
        // Whoever looks for it finds it, and none of those that go on.
        _ = try await store.create([Self.new(200), Self.new(201, owner: nil)])
        try await store.ask(.cancel, of: Self.id(200))
        let unheard = try await store.survey(everyOwner: true, at: Self.start).unheard
        let expected = [0, 100].flatMap { first in
            zip(numbers, requests).compactMap { number, request in
                request.kept.map { (Self.id(first + number), $0) }
            }
        }
        #expect(unheard == Dictionary(uniqueKeysWithValues: expected))
        #expect(try await store.survey(everyOwner: false, at: Self.start).unheard.isEmpty)
    }

    static func laterRequests(_ store: any WorkflowStore) async throws {
        let ends: [PipelineStatus] = [.completed, .failed, .cancelled, .queued, .running]
        for (place, request) in PipelineRequest.allCases.enumerated() {
            for (number, status) in zip((place * 10)..., ends) {
                _ = try await store.create([Self.new(number)])
                try await store.ask(request, of: Self.id(number))
                let change = Self.change(number, status: status, dueAt: status == .queued ? Self.at(200) : nil)
                let isHeard = status.isTerminal || status == .queued && request == .resume
                let kept = isHeard ? nil : request
                #expect(try await store.apply([change]) == [.applied(kept)])
                #expect(try await store.load(Self.id(number))?.request == kept)
            }
        }
        // Whoever claims it is told.
        let claimed = try await store.claim(Self.claim(at: Self.at(200)))
        #expect(Set(claimed.map(\.request)) == [.cancel, .pause, nil] && claimed.count == 3)
        // So it is when it waits again because its runner died.
        for (number, request) in PipelineRequest.allCases.enumerated() {
            let runner = UUID()
            _ = try await store.create([Self.new(900 + number, owner: runner)])
            try await store.ask(request, of: Self.id(900 + number))
            #expect(try await store.recover(runner, beats: 0, by: UUID(), at: Self.at(300)) == 1)
            let stored = try #require(try await store.load(Self.id(900 + number)))
            #expect(stored.status == .queued && stored.request == (request == .resume ? nil : request))
        }
    }

    static func waitingCancels(_ store: any WorkflowStore) async throws {
        let requests = PipelineRequest.allCases
        for (number, request) in zip(1..., requests) {
            _ = try await store.create([Self.new(number)])
            try await store.ask(request, of: Self.id(number))
            let change = Self.change(number, status: .queued, dueAt: Self.at(200))
            #expect(try await store.apply([change]) == [.applied(request == .resume ? nil : request)])
        }
        let unheard = try await store.survey(everyOwner: true, at: Self.start).unheard
        #expect(unheard == [Self.id(1 + (requests.firstIndex(of: .cancel) ?? 0)): .cancel])
        #expect(try await store.survey(everyOwner: false, at: Self.start).unheard.isEmpty)
        // Once somebody has it, that is told.
        #expect(try await store.claim(Self.claim(at: Self.at(200))).count == 3)
        #expect(try await store.survey(everyOwner: true, at: Self.start).unheard.isEmpty)
    }

    static func largestClaim(_ store: any WorkflowStore) async throws {
        _ = try await store.create((1...3).map { Self.new($0, owner: nil) })
        #expect(try await store.claim(Self.claim(limit: .max)).count == 3)
        #expect(try await store.claim(Self.claim(limit: .max)).isEmpty)
    }
}
