import Cloacina
import CloacinaTesting
import TestSupport
import Testing

/// Workflows made by chance, of tasks that behave the same in every attempt: whatever dies, it ends as it would without.
@Suite(.timeLimit(.minutes(5))) struct CrashFuzzTests {
    private struct Ending: Hashable {
        let status: PipelineStatus
        let context: [String: JSONValue]
        let tasks: [TaskStatus]
        let failures: [Int]

        init(_ result: PipelineResult) {
            self.status = result.status
            self.context = result.finalContext.values
            self.tasks = result.tasks.map(\.status)
            self.failures = result.tasks.map { $0.attempts.count { !$0.succeeded } }
        }
    }

    private static func workflow(
        _ clock: TestClock, using generator: inout SeededGenerator
    ) throws -> Workflow {
        var tasks: [WorkflowTask] = []
        for number in 0..<Int.random(in: 2...6, using: &generator) {
            let dependencies = tasks.map(\.id).filter { _ in Int.random(in: 0..<3, using: &generator) == 0 }
            tasks.append(Self.task(number, dependencies, clock, using: &generator))
        }
        return try Workflow("w", tasks: tasks)
    }

    private static func task(
        _ number: Int, _ dependencies: [String], _ clock: TestClock, using generator: inout SeededGenerator
    ) -> WorkflowTask {
        let wait = Duration.seconds(Int.random(in: 0...4, using: &generator))
        let isBad = Int.random(in: 0..<4, using: &generator) == 0
        let delay = Duration.seconds(Int.random(in: 0...5, using: &generator))
        let attempts = Int.random(in: 1...3, using: &generator)
        let rules: [TriggerRule] = dependencies.flatMap {
            [.taskFailed($0), .taskSkipped($0), .not(.taskSucceeded($0)), .always]
        }
        let rule = Bool.random(using: &generator) ? rules.randomElement(using: &generator) : nil
        let timeout: Duration? = Int.random(in: 0..<4, using: &generator) == 0 ? .seconds(2) : nil
        return WorkflowTask(
            "t\(number)", dependencies: dependencies, retry: .fixed(attempts, delay: delay), triggerRule: rule,
            timeout: timeout
        ) { context, _ in
            // On the edge of a timeout it is a matter of order which comes first.
            if wait > .zero { try await clock.sleep(for: wait + .milliseconds(500)) }
            if isBad { throw Unreachable() }
            try context.set("t\(number)", to: context.keys)
            try context.set("last", to: number)
            if number % 3 == 2 { context.remove("t\(number - 1)") }
        }
    }

    /// Two deaths each for the first few.
    @Test(arguments: 0..<40 as Range<UInt64>) func aCrashChangesNoEnding(seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let clock = TestClock(seed: seed % 2 == 0 ? nil : seed)
        let workflow = try Self.workflow(clock, using: &generator)
        var configuration = TestRunner.defaultConfiguration
        configuration.maximumConcurrentTasks = Int.random(in: 1...4, using: &generator)
        let expected = try await Ending(TestRunner(clock: clock, configuration: configuration).execute(workflow).result)
        let test = CrashTest(workflow, clock: clock, configuration: configuration)
        try await test.everyPoint(crashes: seed < 6 ? 2 : 1) { report in
            guard let result = report.result else { return }
            #expect(Ending(result) == expected, "seed \(seed), \(report)")
            for task in result.tasks {
                let begins = report.beginnings.filter { $0.task == task.id }.map(\.attempt)
                #expect(Set(begins).count == begins.count, "seed \(seed), \(report): \(task.id) \(begins)")
                #expect(begins.count <= task.attempts.count + report.crashes.count, "seed \(seed), \(report)")
            }
        }
    }
}
