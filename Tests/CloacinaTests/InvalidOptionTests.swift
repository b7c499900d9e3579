import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// What can't work is refused before anything is begun, and says what would.
@Suite struct InvalidOptionTests {
    private static let settings: [(String, @Sendable (inout RunnerConfiguration) -> Void)] = [
        ("maximumConcurrentTasks", { $0.maximumConcurrentTasks = 0 }),
        ("maximumQueuedPipelines", { $0.maximumQueuedPipelines = 0 }),
        ("maximumRecoveries", { $0.maximumRecoveries = -1 }),
        ("maximumContextBytes", { $0.maximumContextBytes = 1 }),
        ("heartbeatInterval", { $0.heartbeatInterval = .zero }),
        ("leaseDuration", { $0.leaseDuration = $0.heartbeatInterval }),
        ("sweepInterval", { $0.sweepInterval = .zero }),
        ("databasePatience", { $0.databasePatience = .seconds(-1) }),
        ("cancellationGrace", { $0.cancellationGrace = .seconds(-1) }),
        ("retention", { $0.retention = .seconds(-1) }),
    ]

    @Test(arguments: Self.settings.indices) func aConfigurationThatCantWorkIsRefused(index: Int) async throws {
        var configuration = RunnerConfiguration()
        Self.settings[index].1(&configuration)
        try await withTemporaryDirectory { [configuration] directory in
            let url = directory.appending(path: "p.db")
            let error = await #expect(throws: PipelineError.self) {
                try await DefaultRunner(sqliteAt: url, configuration: configuration)
            }
            #expect(error?.code == .invalidOptions)
            #expect(error?.message.contains(Self.settings[index].0) == true)
            #expect(error?.fileID == #fileID)
            #expect(!FileManager.default.fileExists(atPath: url.path))
        }
    }

    @Test func theDefaultsWork() async throws {
        try await withTemporaryDirectory { directory in
            let runner = try await DefaultRunner(sqliteAt: directory.appending(path: "p.db"))
            #expect(runner.workflowNames.isEmpty)
        }
    }

    @Test func aKeyThatNoIndexHoldsIsRefused() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let longest = String(repeating: "ü", count: 1_000)
        let id = try await runner.enqueue("w", options: ExecutionOptions(idempotencyKey: longest)).id
        #expect(try await runner.enqueue("w", options: ExecutionOptions(idempotencyKey: longest)).id == id)
        for call in [true, false] {
            let error = await #expect(throws: PipelineError.self) {
                let options = ExecutionOptions(idempotencyKey: longest + "x")
                if call {
                    _ = try await runner.enqueue("w", options: options)
                } else {
                    _ = try await runner.executeAsync("w", options: options)
                }
            }
            #expect(error?.code == .invalidOptions)
        }
        #expect(try await runner.list().map(\.id) == [id])
    }

    @Test func durationsBeyondWhatIsStoredAreCutOff() {
        #expect(Duration.seconds(Int64.min / 2).wholeMilliseconds == 0)
        #expect(Duration.seconds(Int64.max / 2).wholeMilliseconds == .max)
        #expect(Duration.seconds(-1).wholeMilliseconds == 0)
        #expect(Duration.nanoseconds(1).wholeMilliseconds == 1)
    }

    @Test func whatDidNotCompleteSaysWhy() async throws {
        struct Broken: Error, CustomStringConvertible { let description = "the file is gone" }
        let workflow = try Workflow("w") { WorkflowTask("read") { _ in throw Broken() } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let result = try await runner.execute("w")
        let error = #expect(throws: PipelineError.self) { try result.completed() }
        #expect(error?.message == "\"w\" ended as failed: \"read\" failed: the file is gone")
        let drawing = WorkflowGraph(workflow).annotated(with: result.taskRuns).mermaid()
        #expect(drawing.contains("failed"))
    }
}
