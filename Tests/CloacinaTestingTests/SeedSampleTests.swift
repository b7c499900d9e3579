import Cloacina
import CloacinaTesting
import FoundationEssentials
import TestSupport
import Testing

// The samples of the library that this one follows, written in Swift and run. What stands between `README begins` and
// `README ends` is in the README to the letter; `ReadmeTests` compares.

// README begins
@Workflow
struct Processing {
    @Task(id: "process_data")
    func processData(_ context: inout Context) async throws {
        try context.insert("processed", true)
        print("Data processed successfully!")
    }
}
// README ends

// README begins
@Workflow(name: "etl_pipeline", description: "Extract, Transform, Load pipeline")
struct ETL {
    @Task(id: "extract")
    func extractData(_ context: inout Context) async throws {
        try context.insert("raw_data", ["users": [1, 2, 3]])
    }

    @Task(id: "transform", dependencies: ["extract"])
    func transformData(_ context: inout Context) async throws {
        if let data = context["raw_data"] {
            try context.insert("transformed_data", ["processed": data])
        }
    }

    @Task(id: "load", dependencies: ["transform"])
    func loadData(_ context: inout Context) async throws {
        print("Loading data to warehouse...")
    }
}
// README ends

// README begins
func runETL(file: URL) async throws -> PipelineResult {
    let runner = try await DefaultRunner(sqliteAt: file, workflows: [ETL().workflow])
    let result = try await runner.execute("etl_pipeline")
    print("Pipeline completed: \(result.status)")
    return result
}
// README ends

// README begins
struct Unavailable: TransientError {}

@Workflow
struct Fetching {
    let fetch: @Sendable () async throws -> String

    @Task(
        id: "network_task",
        retry: .exponential(3, initialDelay: .seconds(1), base: 2, multiplier: 1).retrying(when: .transientOnly))
    func networkTask(_ context: inout Context) async throws {
        try context.set("page", to: await self.fetch())
    }

    @Task(id: "my_task", dependencies: ["network_task"], retry: RetryPolicy(maxAttempts: 3))
    func myTask(_ context: inout Context) async throws {}
}
// README ends

// README begins
@Workflow(name: "abc")
struct ABC {
    @Task(id: "a") func taskA(_ context: inout Context) async throws {}
    @Task(id: "b", dependencies: ["a"]) func taskB(_ context: inout Context) async throws {}
    @Task(id: "c", dependencies: ["a", "b"]) func taskC(_ context: inout Context) async throws {}
}
// README ends

/// The samples with everything that decides in the tests' hands.
enum SeedSamples {
    struct Flaky: TransientError {
        let isTransient: Bool
    }

    @Workflow(name: "network")
    struct Network {
        let isTransient: Bool
        let failures: Int

        @Task(
            id: "network_task", dependencies: [],
            retry: RetryPolicy(
                maxAttempts: 3, backoff: .exponential(base: 2.0, multiplier: 1.0), initialDelay: .seconds(1),
                jitter: false, conditions: [.transientOnly]))
        func networkTask(_ context: inout Context, _ scope: TaskScope) async throws {
            if scope.attempt <= self.failures { throw Flaky(isTransient: self.isTransient) }
        }
    }

    @Workflow(name: "conditional")
    struct Conditional {
        let passes: JSONValue?

        @Task(id: "validation_task")
        func validate(_ context: inout Context) throws {
            if let passes = self.passes { try context.insert("validation_passed", passes) }
        }

        @Task(
            id: "conditional_task", dependencies: ["validation_task"],
            triggerRules: .contextValue("validation_passed", .equals, true))
        func conditionalTask(_ context: inout Context) async throws {
            try context.set("ran", to: true)
        }
    }
}

/// Each sample runs, and does what its text says.
@Suite(.timeLimit(.minutes(5))) struct SeedSampleTests {
    @Test func extractTransformLoad() async throws {
        let workflow = try ETL().workflow
        #expect(workflow.name == "etl_pipeline" && workflow.description == "Extract, Transform, Load pipeline")
        #expect(workflow.tasks.map(\.id) == ["extract", "transform", "load"])
        #expect(workflow.tasks.map(\.dependencies) == [[], ["extract"], ["transform"]])
        let run = try await TestRunner().execute(workflow)
        try run.expectOrder("extract", "transform", "load")
        try run.result.expect(.completed)
            .expectContext("raw_data", equals: ["users": [1, 2, 3]])
            .expectContext("transformed_data", equals: ["processed": ["users": [1, 2, 3]]])
    }

    @Test func aThenBThenC() async throws {
        for seed in 0..<10 as Range<UInt64> {
            let run = try await TestRunner(clock: TestClock(seed: seed)).execute(try ABC().workflow)
            try run.expectOrder("a", "b", "c")
        }
    }

    @Test func pausesDouble() async throws {
        let run = try await TestRunner().execute(try SeedSamples.Network(isTransient: true, failures: 2).workflow)
        try run.result.expect(.completed).expectAttempts("network_task", 3)
        #expect(run.beginnings.map { $0.at.timeIntervalSinceReferenceDate } == [0, 1, 3])
        #expect(run.beginnings.map(\.attempt) == [1, 2, 3])
        #expect(
            run.history.map(\.kind) == [
                .pipelineStarted, .taskRetrying, .taskRetrying, .taskCompleted, .pipelineCompleted,
            ])
    }

    @Test func threeAttemptsAreAllThereAre() async throws {
        let run = try await TestRunner().execute(try SeedSamples.Network(isTransient: true, failures: 3).workflow)
        try run.result.expect(.failed).expectAttempts("network_task", 3)
        #expect(run.result.duration == .seconds(3))
    }

    @Test func whatWontPassIsNotTriedAgain() async throws {
        let run = try await TestRunner().execute(try SeedSamples.Network(isTransient: false, failures: 1).workflow)
        try run.result.expect(.failed).expectAttempts("network_task", 1)
        #expect(run.result.duration == .zero)
    }

    @Test func aFieldOfTheContextDecides() async throws {
        let yes = try await TestRunner().execute(try SeedSamples.Conditional(passes: true).workflow)
        try yes.result.expect(.completed).expectContext("ran", equals: true)
        for passes in [false, nil, "true", 1, .some(.null)] as [JSONValue?] {
            let no = try await TestRunner().execute(try SeedSamples.Conditional(passes: passes).workflow)
            try no.result.expect(.completed).expectSkipped("conditional_task", because: "validation_passed is true")
                .expectNoContext("ran")
            try no.expectOrder("validation_task")
        }
    }
}

/// The samples as the README shows them.
extension SeedSampleTests {
    @Test func theFirstTask() async throws {
        let run = try await TestRunner().execute(try Processing().workflow)
        try run.result.expect(.completed).expectContext("processed", equals: true)
    }

    @Test func aSmallProgramKeepsWhatItRan() async throws {
        try await withTemporaryDirectory { directory in
            let file = directory.appending(path: "etl.db")
            let results = [try await runETL(file: file), try await runETL(file: file)]
            #expect(results.map(\.status) == [.completed, .completed])
            let runner = try await DefaultRunner(sqliteAt: file)
            #expect(try await runner.list().map(\.id) == results.reversed().map(\.id))
            #expect(try await runner.list().map(\.workflow) == ["etl_pipeline", "etl_pipeline"])
        }
    }

    @Test func twoFilesAreTwoTenants() async throws {
        try await withTemporaryDirectory { directory in
            // README begins
            let etl = try Workflow("etl_pipeline", description: "Extract, Transform, Load pipeline") {
                WorkflowTask("extract") { context in try context.insert("raw_data", ["users": [1, 2, 3]]) }
                WorkflowTask("transform", after: "extract") { context in
                    if let data = context["raw_data"] { try context.insert("transformed_data", ["processed": data]) }
                }
                WorkflowTask("load", after: "transform") { _ in print("Loading data to warehouse...") }
            }
            // README ends
            #expect(WorkflowGraph(etl) == WorkflowGraph(try ETL().workflow))

            // README begins
            let tenantA = try await DefaultRunner(sqliteAt: directory.appending(path: "tenant_a.db"), workflows: [etl])
            let tenantB = try await DefaultRunner(sqliteAt: directory.appending(path: "tenant_b.db"), workflows: [etl])
            // README ends
            let result = try await tenantA.execute("etl_pipeline")
            try result.expect(.completed)
                .expectContext("transformed_data", equals: ["processed": ["users": [1, 2, 3]]])
            #expect(try await tenantA.list().map(\.id) == [result.id])
            #expect(try await tenantB.list().isEmpty)
        }
    }

    // README begins
    @Test func theNetworkTaskIsTriedThreeTimes() async throws {
        let workflow = try Fetching(fetch: { throw Unavailable() }).workflow
        let run = try await TestRunner().execute(workflow)
        try run.result.expectFailed("network_task").expectAttempts("network_task", 3).expectSkipped("my_task")
        #expect(run.result.duration > .seconds(2))
    }
    // README ends

    @Test func theNetworkTaskIsNotTriedAgainForWhatWontPass() async throws {
        let failing = try Fetching(fetch: { throw SeedSamples.Flaky(isTransient: false) }).workflow
        try await TestRunner().execute(failing).result.expect(.failed).expectAttempts("network_task", 1)
        let run = try await TestRunner().execute(try Fetching(fetch: { "a page" }).workflow)
        try run.result.expect(.completed).expectContext("page", equals: "a page")
        let retries = try Fetching(fetch: { "" }).workflow.tasks.map(\.retry)
        #expect(retries[0].backoff == .exponential(base: 2, multiplier: 1))
        #expect(retries[0].initialDelay == .seconds(1))
        #expect(retries[1] == .default)
    }

    @Test func theContextKeepsWhatIsInserted() throws {
        var context = Context()
        // README begins
        try context.insert("user_id", 12345)
        try context.insert("config", ["env": "prod"])

        let userID = try context.get("user_id", as: Int.self)  // throws when it is missing, or no Int
        let config = try context.getIfPresent("config", as: [String: String].self)
        let environment = context[at: "config.env"]
        // README ends
        #expect(userID == 12345)
        #expect(config == ["env": "prod"])
        #expect(environment == "prod")
        #expect(context.values == ["user_id": 12345, "config": ["env": "prod"]])
        #expect(throws: WorkflowError.self) { try context.get("config", as: Int.self) }
        #expect(throws: WorkflowError.self) { try context.get("userid", as: Int.self) }
    }

    @Test func aConditionIsTheSameInSwiftAndInJSON() async throws {
        // README begins
        @Workflow(name: "conditional")
        struct Conditional {
            @Task(id: "validation_task")
            func validate(_ context: inout Context) throws {
                try context.set("validation_passed", to: context["order"] != nil)
            }

            @Task(
                id: "conditional_task", dependencies: ["validation_task"],
                triggerRules: .contextValue("validation_passed", .equals, true))
            func conditionalTask(_ context: inout Context) async throws {}
        }

        let rule = try TriggerRule(
            parsing: """
                {"type": "Conditional",
                 "condition": {"field": "validation_passed", "operator": "Equals", "value": true}}
                """)
        // README ends
        let workflow = try Conditional().workflow
        #expect(workflow.task("conditional_task")?.triggerRule == rule)
        let yes = try await TestRunner().execute(workflow, context: Context(["order": 7]))
        try yes.result.expect(.completed).expect("conditional_task", .completed)
        let no = try await TestRunner().execute(workflow)
        try no.result.expect(.completed).expectSkipped("conditional_task")
    }

    @Test func workflowsAndRunsAreDrawnAndTasksHaveFullNames() async throws {
        let workflow = try ETL().workflow
        let result = try await TestRunner().execute(workflow).result
        // README begins
        let drawing = WorkflowGraph(workflow).mermaid()  // or dot(), svg()
        let drawingOfTheRun = WorkflowGraph(workflow).annotated(with: result.taskRuns).mermaid()

        let name = try TaskNamespace(parsing: "public::embedded::etl_pipeline::extract")
        let text = try TaskNamespace(workflow: name.workflow, task: "load").description
        // README ends
        #expect(
            drawing == """
                ---
                title: "etl_pipeline"
                ---
                flowchart LR
                  n0["extract"]
                  n1["transform"]
                  n2["load"]
                  n0 --> n1
                  n1 --> n2

                """)
        for task in ["extract", "transform", "load"] {
            #expect(drawingOfTheRun.contains("\"\(task)<br/>✓ completed<br/>1 attempt"))
        }
        #expect([name.tenant, name.package] == [TaskNamespace.defaultTenant, TaskNamespace.embeddedPackage])
        #expect([name.workflow, name.task] == ["etl_pipeline", "extract"])
        #expect(text == "public::embedded::etl_pipeline::load")
    }
}
