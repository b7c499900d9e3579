import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Several files as several tenants, and several runners on one file.
@Suite(.timeLimit(.minutes(5))) struct SQLiteTenantTests {
    private static var fast: SQLiteConfiguration {
        var configuration = SQLiteConfiguration()
        configuration.synchronous = .normal
        return configuration
    }

    @Test func twoFilesAreTwoTenantsAtTheSameTime() async throws {
        try await withTemporaryDirectory { directory in
            let meeting = Tally()
            func tenant(_ name: String) async throws -> DefaultRunner {
                let workflow = try Workflow("w") {
                    for task in ["a", "b", "c"] {
                        WorkflowTask(task) { context in
                            // Goes on when the other tenant's tasks are here as well.
                            await meeting.meet(6)
                            try context.set(task, to: name)
                        }
                    }
                }
                return try await DefaultRunner(
                    sqliteAt: directory.appending(path: "\(name).db"), sqlite: Self.fast, workflows: [workflow])
            }
            let (first, second) = (try await tenant("first"), try await tenant("second"))
            async let ofFirst = first.execute("w")
            async let ofSecond = second.execute("w")
            let results = try await [ofFirst, ofSecond]
            #expect(results.map(\.status) == [.completed, .completed])
            #expect(results[0].finalContext.values == ["a": "first", "b": "first", "c": "first"])
            #expect(results[1].finalContext.values == ["a": "second", "b": "second", "c": "second"])
            #expect(try await first.list().map(\.id) == [results[0].id])
            #expect(try await second.list().map(\.id) == [results[1].id])
            let stranger = await #expect(throws: PipelineError.self) { try await first.status(of: results[1].id) }
            #expect(stranger?.code == .pipelineNotFound)
        }
    }

    @Test func twoRunnersOnOneFileRunEachPipelineOnce() async throws {
        try await withTemporaryDirectory { directory in
            let url = directory.appending(path: "p.db")
            let ran = Mutex<[UUID: [Int]]>([:])
            let bothHaveOne = Tally()
            func runner(_ number: Int) async throws -> DefaultRunner {
                let isFirst = Mutex(true)
                let workflow = try Workflow("w") {
                    WorkflowTask("t") { context, scope in
                        ran.withLock { $0[scope.executionID, default: []].append(number) }
                        let mustWait = isFirst.withLock { isFirst in
                            defer { isFirst = false }
                            return isFirst
                        }
                        if mustWait { await bothHaveOne.meet(2) }
                        try context.set("by", to: number)
                    }
                    WorkflowTask("u", after: "t") { _ in }
                }
                var configuration = RunnerConfiguration()
                configuration.maximumQueuedPipelines = 4
                return try await DefaultRunner(
                    sqliteAt: url, sqlite: Self.fast, workflows: [workflow], configuration: configuration)
            }
            let runners = [try await runner(1), try await runner(2)]
            var ids: [UUID] = []
            for _ in 0..<100 { ids.append(try await runners[0].enqueue("w").id) }
            let groups = runners.map { runner in Task { try await RunnerGroup([runner], drain: .zero).run() } }
            for id in ids {
                let result = try await runners[1].result(of: id)
                let runs = ran.withLock { $0[id] ?? [] }
                #expect(result.status == .completed && runs.count == 1)
                #expect(result.finalContext["by"] == runs.first.map { .integer(Int64($0)) })
            }
            #expect(ran.withLock { Set($0.keys) } == Set(ids))
            #expect(ran.withLock { Set($0.values.joined()) } == [1, 2])
            for group in groups {
                group.cancel()
                _ = await group.result
            }
        }
    }
}
