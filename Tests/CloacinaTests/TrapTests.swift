import Foundation
import TestSupport
import Testing

@testable import Cloacina

/// Tasks that trap: the process is gone, the pipeline is not.
@Suite(.timeLimit(.minutes(5))) struct TrapTests {
    /// What a process does that serves the file until it dies or nothing is left to do.
    private static func serve(_ path: String, trapping: Bool, maximumRecoveries: Int = 3) async throws {
        var configuration = RunnerConfiguration()
        // Whoever is seen twice with the same number is dead: shorter than a runner of the public initialisers may have it.
        configuration.leaseDuration = .nanoseconds(1)
        configuration.maximumRecoveries = maximumRecoveries
        configuration.maximumConcurrentTasks = 2
        let runner = try DefaultRunner(
            store: try await SQLiteWorkflowStore(opening: URL(filePath: path)),
            workflows: [Self.workflow(trapping: trapping)], configuration: configuration)
        while try await !runner.list(PipelineQuery(statuses: [.queued, .running])).isEmpty {
            await runner.serveOnce()
            await Task.yield()
        }
    }

    private static func workflow(trapping: Bool) throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("before") { context, scope in try context.set("before", to: scope.attempt) }
            WorkflowTask("trap", after: "before") { context, scope in
                let numbers = [scope.attempt]
                // As a mistake in a program would: there is no such element.
                if trapping { try context.set("trap", to: numbers[scope.attempt + 1]) }
                try context.set("trap", to: scope.attempt)
            }
            WorkflowTask("behind", after: "trap") { _ in }
        }
    }

    private static func enqueue(_ path: String) async throws -> DefaultRunner {
        let runner = try await DefaultRunner(
            sqliteAt: URL(filePath: path), workflows: [Self.workflow(trapping: false)])
        try await runner.enqueue("w")
        return runner
    }

    @Test func whatATaskTookDownGoesOnInTheNextProcess() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory.appending(path: "p.db").path(percentEncoded: false)
            let runner = try await Self.enqueue(path)
            await #expect(processExitsWith: .failure) { [path = path as String] in
                try await Self.serve(path, trapping: true)
            }
            let id = try #require(try await runner.list().first?.id)
            #expect(try await runner.status(of: id) == .running)
            #expect(
                try await runner.history(of: id).map(\.kind) == [.pipelineQueued, .pipelineStarted, .taskCompleted])
            try await Self.serve(path, trapping: false)
            let result = try await runner.result(of: id)
            #expect(result.status == .completed)
            // What had completed was not run again.
            #expect(result.finalContext.values == ["before": 1, "trap": 2])
            let summary = try #require(try await runner.list().first)
            #expect(summary.recoveries == 1)
        }
    }

    @Test func aTaskThatTrapsEveryTimeIsAbandoned() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory.appending(path: "p.db").path(percentEncoded: false)
            let runner = try await Self.enqueue(path)
            // One death says that something is wrong, the second one that it was this task, alone.
            for _ in 0..<3 {
                await #expect(processExitsWith: .failure) { [path = path as String] in
                    try await Self.serve(path, trapping: true, maximumRecoveries: 1)
                }
            }
            await #expect(processExitsWith: .success) { [path = path as String] in
                try await Self.serve(path, trapping: true, maximumRecoveries: 1)
            }
            let summary = try #require(try await runner.list().first)
            // Waiting for its result would never end otherwise.
            try #require(summary.status == .failed && summary.recoveries == 3)
            let result = try await runner.result(of: summary.id)
            #expect(result.tasks.map(\.status) == [.completed, .failed, .skipped])
            #expect(result.task("trap")?.error?.hasPrefix("abandoned: ") == true)
        }
    }
}
