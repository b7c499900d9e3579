import Cloacina
import CloacinaTesting
import FoundationEssentials
import Synchronization
import Testing

/// The samples of the library that this one follows, written in Swift and run.
enum SeedSamples {
    @Workflow(name: "etl_pipeline", description: "Extract, Transform, Load pipeline")
    struct ETL {
        @Task(id: "extract")
        func extractData(_ context: inout Context) async throws {
            try context.insert("raw_data", ["users": [1, 2, 3]] as JSONValue)
        }

        @Task(id: "transform", dependencies: ["extract"])
        func transformData(_ context: inout Context) async throws {
            if let data = context["raw_data"] {
                try context.insert("transformed_data", ["processed": data] as JSONValue)
            }
        }

        @Task(id: "load", dependencies: ["transform"])
        func loadData(_ context: inout Context) async throws {}
    }

    @Workflow(name: "abc")
    struct ABC {
        @Task(id: "a") func taskA(_ context: inout Context) async throws {}
        @Task(id: "b", dependencies: ["a"]) func taskB(_ context: inout Context) async throws {}
        @Task(id: "c", dependencies: ["a", "b"]) func taskC(_ context: inout Context) async throws {}
    }

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
        let workflow = try SeedSamples.ETL().workflow
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
            let run = try await TestRunner(clock: TestClock(seed: seed)).execute(try SeedSamples.ABC().workflow)
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
