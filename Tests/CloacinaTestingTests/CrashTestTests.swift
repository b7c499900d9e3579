import Cloacina
import CloacinaTesting
import FoundationEssentials
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct CrashTestTests {
    @Test func aChainEndsTheSameWhereverItsProcessDies() async throws {
        let workflow = try Workflow("chain") {
            WorkflowTask("a") { context in try context.set("a", to: 1) }
            WorkflowTask("b", after: "a") { context in try context.set("b", to: context.get("a", as: Int.self) + 1) }
            WorkflowTask("c", after: "b") { context in try context.set("c", to: context.get("b", as: Int.self) + 1) }
        }
        let reports = Log()
        let runs = try await CrashTest(workflow).everyPoint { report in
            reports.add("\(report) \(["a", "b", "c"].map { report.begins($0) })")
            try report.result?.expect(.completed).expectContext("c", equals: 3)
        }
        // Created, and the end of each of three tasks.
        #expect(runs == 1 + 2 * 4)
        #expect(
            reports.lines == [
                "no crash: completed [1, 1, 1]",
                "crash before write 1 (create): never stored [0, 0, 0]",
                "crash after write 1 (create): completed [1, 1, 1]",
                "crash before write 2 (task completed: a): completed [2, 1, 1]",
                "crash after write 2 (task completed: a): completed [1, 1, 1]",
                "crash before write 3 (task completed: b): completed [1, 2, 1]",
                "crash after write 3 (task completed: b): completed [1, 1, 1]",
                "crash before write 4 (task completed: c, pipeline completed): completed [1, 1, 2]",
                "crash after write 4 (task completed: c, pipeline completed): completed [1, 1, 1]",
            ])
    }

    /// Branches, waiting, retries, a failure with a rule that catches it, and a rule that skips.
    private static func everything(_ clock: TestClock) throws -> Workflow {
        try Workflow("everything") {
            WorkflowTask("root") { context in try context.set("root", to: 1) }
            WorkflowTask("slow", after: "root", timeout: .seconds(60)) { context in
                try await clock.sleep(for: .seconds(5))
                try context.set("slow", to: true)
                context.remove("root")
            }
            WorkflowTask("flaky", after: "root", retry: .fixed(4, delay: .seconds(30))) { context, scope in
                if scope.attempt == 1 { throw Unreachable() }
                try context.set("flaky", to: true)
            }
            WorkflowTask("hanging", after: "root", timeout: .seconds(7)) { _ in
                try await clock.sleep(for: .seconds(1_000))
            }
            WorkflowTask("rescue", after: "hanging", triggerRule: .taskFailed("hanging")) { context in
                try context.set("rescued", to: true)
            }
            WorkflowTask("unused", after: "flaky", triggerRule: .taskFailed("flaky")) { _ in }
            WorkflowTask("join", after: "slow", "flaky", "rescue") { context in
                try await clock.sleep(for: .seconds(1))
                try context.set("joined", to: context.keys)
            }
        }
    }

    private func check(_ report: CrashReport, crashes: Int) throws {
        guard let result = report.result else {
            #expect(report.crashes.first?.point == .before(1))
            return
        }
        try result.expect(.failed)
            .expect("root", .completed).expect("slow", .completed).expect("flaky", .completed)
            .expectFailed("hanging").expect("rescue", .completed).expect("join", .completed)
            .expectSkipped("unused", because: "rule")
            .expectContext("joined", equals: ["flaky", "rescued", "slow"])
        // Each death costs each task one more beginning at most.
        for task in result.tasks {
            let planned = task.id == "flaky" ? 2 : 1
            try report.expectBegins(task.id, atMost: planned + report.crashes.count)
            let completions = report.history.count {
                $0.task == task.id && [.taskCompleted, .taskFailed, .taskSkipped].contains($0.kind)
            }
            #expect(completions == 1, "\(task.id) ended \(completions) times; \(report)")
            let attempts = report.beginnings.filter { $0.task == task.id }.map(\.attempt)
            #expect(attempts.count <= task.attempt, "\(task.id) \(attempts); \(report)")
            #expect(report.history.filter { $0.task == task.id }.count { $0.kind == .taskRetrying } <= 1)
        }
        #expect(report.history.count { $0.kind.rawValue == "pipeline failed" } == 1)
        #expect(report.history.last?.kind == .pipelineFailed)
        #expect(report.history.count { $0.kind == .pipelineRecovered } <= crashes)
    }

    @Test(arguments: [nil, 1, 2, 3, 4, 5, 6] as [UInt64?])
    func everythingBearsOneCrashAnywhere(seed: UInt64?) async throws {
        for limit in [1, 2, 16] {
            let clock = TestClock(seed: seed)
            var configuration = TestRunner.defaultConfiguration
            configuration.maximumConcurrentTasks = limit
            let test = CrashTest(try Self.everything(clock), clock: clock, configuration: configuration)
            let runs = try await test.everyPoint { try self.check($0, crashes: 1) }
            #expect(runs > 12)
        }
    }

    @Test(arguments: [nil, 1, 2] as [UInt64?]) func everythingBearsTwoCrashes(seed: UInt64?) async throws {
        let clock = TestClock(seed: seed)
        let runs = try await CrashTest(try Self.everything(clock), clock: clock).everyPoint(crashes: 2) {
            try self.check($0, crashes: 2)
        }
        #expect(runs > 200)
    }

    @Test(arguments: [nil, 1] as [UInt64?]) func aTimedOutPipelineEndsTheSameWhereverItsProcessDies(
        seed: UInt64?
    ) async throws {
        let clock = TestClock(seed: seed)
        let workflow = try Workflow("w") {
            WorkflowTask("quick") { _ in try await clock.sleep(for: .seconds(1)) }
            WorkflowTask("endless") { _ in try await clock.sleep(for: .seconds(10_000)) }
            WorkflowTask("retried", after: "quick", retry: .fixed(1_000, delay: .seconds(7))) { _ in
                throw Unreachable()
            }
            WorkflowTask("behind", after: "endless") { _ in }
        }
        try await CrashTest(workflow, timeout: .seconds(20), clock: clock).everyPoint(crashes: 2) { report in
            guard let result = report.result else { return }
            try result.expect(.failed).expect("quick", .completed).expectFailed("endless", with: "ran out")
                .expectSkipped("behind", because: "ran out")
            #expect(result.duration <= .seconds(21), "\(report)")
            #expect(report.begins("retried") <= 3 + report.crashes.count)
        }
    }

    /// A debit that is not idempotent is found out, and one with a key is not.
    @Test func whatIsNotIdempotentIsFoundOut() async throws {
        for isCareful in [false, true] {
            let debits = Log()
            let workflow = try Workflow("pay") {
                WorkflowTask("debit") { _, scope in
                    let line = "debit \(scope.executionID)"
                    if !isCareful || !debits.lines.contains(line) { debits.add(line) }
                }
            }
            let twice = Log()
            try await CrashTest(workflow).everyPoint(before: { debits.clear() }) { report in
                try report.expectBegins("debit", atMost: 2)
                if debits.lines.count > 1 { twice.add("\(report)") }
            }
            let found = "crash before write 2 (task completed: debit, pipeline completed): completed"
            #expect(twice.lines == (isCareful ? [] : [found]))
        }
    }

    @Test func whatIsUnderWayAtTheCrashNeverGoesOn() async throws {
        let clock = TestClock()
        let log = Log()
        let workflow = try Workflow("w") {
            WorkflowTask("long") { _, scope in
                defer { log.add("long ends \(scope.attempt)") }
                log.add("long begins \(scope.attempt)")
                try await clock.sleep(for: .seconds(10))
            }
            WorkflowTask("short") { _ in try await clock.sleep(for: .seconds(1)) }
        }
        let report = try await CrashTest(workflow, clock: clock).run(crashingAt: .after(2))
        #expect("\(report)" == "crash after write 2 (task completed: short): completed")
        #expect(report.begins("short") == 1)
        #expect(report.beginnings.filter { $0.task == "long" }.map(\.process) == [1, 2])
        #expect(log.lines == ["long begins 1", "long begins 2", "long ends 2"])
    }

    @Test func aProcessCanDieInTheMidstOfATask() async throws {
        let log = Log()
        let workflow = try Workflow("w") {
            WorkflowTask("transfer") { _, scope in
                log.add("debit")
                if scope.attempt == 1 { await CrashTest.die("between debit and credit") }
                log.add("credit")
            }
        }
        let report = try await CrashTest(workflow).run()
        #expect("\(report)" == "crash between debit and credit: completed")
        #expect(log.lines == ["debit", "debit", "credit"])
        log.clear()
        _ = try await TestRunner().execute(workflow)
        #expect(log.lines == ["debit", "credit"])
    }

    /// Whichever attempt it is that kills: the first process dies unwarned, the next four while they run the task alone.
    @Test(arguments: [1, 2]) func aTaskThatKillsProcessAfterProcessIsGivenUp(failures: Int) async throws {
        let deaths = Log()
        let failed = Log()
        let workflow = try Workflow("w") {
            WorkflowTask("poison", retry: .fixed(2, delay: .seconds(1))) { _, _ in
                if failed.lines.count < failures - 1 {
                    failed.add("failed")
                    throw Unreachable()
                }
                // An end to it all the same, where nobody gives up.
                guard deaths.lines.count < 20 else { return }
                deaths.add("dead")
                await CrashTest.die("poisoned")
            }
            WorkflowTask("after", after: "poison") { _ in }
        }
        let report = try await CrashTest(workflow).run()
        #expect(report.crashes.count == 5)
        try report.result?.expect(.failed).expectFailed("poison", with: "died")
            .expectSkipped("after", because: "poison")
        let attempts = report.beginnings.map(\.attempt)
        #expect(Set(attempts).count == attempts.count, "a number is given twice: \(attempts)")
    }

    @Test(arguments: [nil, 1, 2, 3] as [UInt64?], [1, 2])
    func whatRunsBesideATaskThatKillsIsNotBlamed(seed: UInt64?, killing: Int) async throws {
        let clock = TestClock(seed: seed)
        let deaths = Log()
        let workflow = try Workflow("w") {
            WorkflowTask("poison", retry: .fixed(2, delay: .seconds(1))) { _, _ in
                try await clock.sleep(for: .seconds(1))
                guard deaths.lines.count < 50 else { return }
                // The second attempt begins when the first one has failed once.
                if killing == 2, deaths.lines.isEmpty {
                    deaths.add("failed")
                    throw Unreachable()
                }
                deaths.add("dead")
                await CrashTest.die("poisoned")
            }
            for number in 0..<4 {
                WorkflowTask("good\(number)", retry: .fixed(2, delay: .seconds(2))) { _, scope in
                    try await clock.sleep(for: .seconds(number))
                    if scope.attempt == 1, number % 2 == 0 { throw Unreachable() }
                }
            }
            WorkflowTask("after", after: "good0", "good1", "good2", "good3") { _ in }
        }
        let report = try await CrashTest(workflow, clock: clock).run()
        #expect(report.crashes.count == 5)
        let result = try #require(report.result)
        try result.expect(.failed).expectFailed("poison", with: "died").expect("after", .completed)
        for number in 0..<4 {
            try result.expect("good\(number)", .completed)
            try report.expectBegins("good\(number)", atMost: 3)
        }
    }
}
