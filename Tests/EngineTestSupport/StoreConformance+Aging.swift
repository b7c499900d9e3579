import Cloacina
import FoundationEssentials
import Testing

/// What every store promises about runners that grow silent and pipelines that grow old.
extension StoreConformance {
    package static let aging: [Check] = [
        Check(name: "a heartbeat has the runner's own number", run: Self.ownNumbers),
        Check(name: "who has left is not silent", run: Self.leaving),
        Check(name: "prune keeps the children of what has not ended", run: Self.keptChildren),
        Check(name: "prune leaves alone what is younger than its bound", run: Self.pruneBound),
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

    static func keptChildren(_ store: any WorkflowStore) async throws {
        // The key of a child begins with its parent's id; another key that looks much like it is nobody's.
        let keys = ["\(Self.id(1))/1/1/t/w", "\(Self.id(1))+1/1/t/w", "\(Self.id(99))/1/1/t/w", nil]
        let ended = zip(2..., keys).map { Self.new($0, options: ExecutionOptions(idempotencyKey: $1)) }
        _ = try await store.create([Self.new(1)] + ended)
        _ = try await store.apply((2...5).map { Self.change($0, status: .completed) })
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
}
