import Testing

@testable import CloacinaWorkflow

/// A workflow whose rules and policies make no sense is never made, and the error says whose they are.
@Suite struct WorkflowRefusalTests {
    /// The tasks first, guilty, which comes after first, and later, which comes after guilty, beside a stranger.
    private static func workflow(
        description: String = "", dependencies: [String] = ["first"], retry: RetryPolicy = .none,
        rule: TriggerRule? = nil, handles: [String] = [], timeout: Duration? = nil, codeVersion: String = ""
    ) throws -> Workflow {
        try Workflow("w", description: description) {
            WorkflowTask("root") { _ in }
            WorkflowTask("first", after: "root") { _ in }
            WorkflowTask("stranger") { _ in }
            WorkflowTask(
                "guilty", dependencies: dependencies, retry: retry, triggerRule: rule, handles: handles,
                timeout: timeout, codeVersion: codeVersion
            ) { _, _ in }
            WorkflowTask("later", after: "guilty") { _ in }
        }
    }

    private func refusal(
        retry: RetryPolicy = .none, rule: TriggerRule? = nil, handles: [String] = [], timeout: Duration? = nil
    ) throws -> WorkflowError {
        let error = try #require(throws: WorkflowError.self) {
            try Self.workflow(retry: retry, rule: rule, handles: handles, timeout: timeout)
        }
        #expect(error.message.contains("\"guilty\""), "\(error)")
        #expect(error.fileID.hasSuffix("WorkflowRefusalTests.swift"))
        return error
    }

    @Test(arguments: [
        (TriggerRule.taskFailed("nowhere"), "nowhere", nil as String?), (.taskSucceeded("firs"), "firs", "first"),
        (.taskSkipped("stranger"), "stranger", nil), (.taskFailed("later"), "later", nil),
        (.taskFailed("guilty"), "guilty", nil), (.anyFailed("first", "nowhere"), "nowhere", nil),
        (.all([.not(.any([.none([.taskSkipped("stranger")])]))]), "stranger", nil),
    ])
    func aRuleAsksOnlyAboutTasksThatItsTaskWaitsFor(rule: TriggerRule, name: String, suggestion: String?) throws {
        let error = try self.refusal(rule: rule)
        #expect(error.code == .invalidRule && error.message.contains("\"\(name)\""))
        #expect(error.suggestion == suggestion)
    }

    @Test(arguments: [
        TriggerRule.taskFailed("first"), .taskFailed("root"), .anyFailed("root", "first"), .always, .any([]),
        .contextValue("a.b[0]", .equals, "guilty"), .noneFailedAbove,
    ])
    func aRuleMayAskAboutAllThatIsWaitedFor(rule: TriggerRule) throws {
        #expect(try Self.workflow(rule: rule).task("guilty")?.triggerRule == rule)
    }

    @Test(arguments: [
        TriggerRule.contextExists("a..b"), .contextValue("", .equals, 1), .not(.contextNotExists("a[-1]")),
        .contextValue("a", .equals, .double(.nan)),
        (0..<TriggerRule.maximumDepth).reduce(.always) { rule, _ in .not(rule) },
    ])
    func aRuleThatCantBeEvaluatedIsRefused(rule: TriggerRule) throws {
        #expect(try self.refusal(rule: rule).code == .invalidRule)
    }

    @Test(arguments: [
        ("nowhere", nil as String?), ("frist", "first"), ("stranger", nil), ("later", nil), ("guilty", nil),
    ])
    func onlyTheFailureOfATaskThatIsWaitedForIsHandled(name: String, suggestion: String?) throws {
        let error = try self.refusal(rule: .always, handles: ["first", name])
        #expect(error.code == .invalidRule && error.message.contains("\"\(name)\""))
        #expect(error.suggestion == suggestion)
    }

    @Test func aTaskThatIsSkippedAfterAFailureCantHandleIt() throws {
        let error = try self.refusal(handles: ["first"])
        #expect(error.code == .invalidRule && error.message.contains("\"first\""))
        // A task between the two may have a rule.
        #expect(try Self.workflow(handles: ["root"]).task("guilty")?.handles == ["root"])
    }

    @Test func handledFailuresOfTheWholeAncestryAreKept() throws {
        let workflow = try Self.workflow(rule: .anyFailed("root", "first"), handles: ["first", "root"])
        #expect(workflow.task("guilty")?.handles == ["first", "root"])
        #expect(workflow.task("later")?.handles == [])
    }

    @Test(arguments: [
        RetryPolicy(maxAttempts: 0), RetryPolicy(maxAttempts: -1), .fixed(0, delay: .seconds(1)),
        .fixed(3, delay: .seconds(-1)), .exponential(3, initialDelay: .seconds(61)), .exponential(3, base: 0),
        .exponential(3, base: .infinity), .linear(3, multiplier: .nan), RetryPolicy(backoff: .custom([])),
        RetryPolicy(conditions: []), RetryPolicy(conditions: [.never, .allErrors]),
        RetryPolicy(conditions: [.errorPattern([""])]), .default.capped(at: .seconds(1_000_000_000)),
    ])
    func aPolicyThatMakesNoSenseIsRefused(retry: RetryPolicy) throws {
        #expect(try self.refusal(retry: retry).code == .invalidRetryPolicy)
    }

    @Test(arguments: [Duration.zero, .nanoseconds(-1), .seconds(-3_600)])
    func aTaskThatMayTakeNoTimeIsRefused(timeout: Duration) throws {
        #expect(try self.refusal(timeout: timeout).code == .invalidValue)
    }

    @Test func theVersionChangesWithWhateverChangesWhatIsDone() throws {
        let versions = [
            try Self.workflow(),
            try Self.workflow(dependencies: ["first", "stranger"]),
            try Self.workflow(dependencies: ["stranger", "first"]),
            try Self.workflow(dependencies: ["root"]), try Self.workflow(dependencies: []),
            try Self.workflow(rule: .noneFailedAbove), try Self.workflow(rule: .always),
            try Self.workflow(rule: .taskFailed("first")),
            try Self.workflow(rule: .taskFailed("root")), try Self.workflow(rule: .not(.taskFailed("root"))),
            try Self.workflow(rule: .contextValue("k", .equals, 1)),
            try Self.workflow(rule: .contextValue("k", .equals, 1.5)),
            try Self.workflow(rule: .contextValue("k", .equals, "1")),
            try Self.workflow(rule: .always, handles: ["first"]),
            try Self.workflow(rule: .always, handles: ["first", "root"]),
            try Self.workflow(rule: .always, handles: ["root", "first"]),
            try Self.workflow(codeVersion: "1"), try Self.workflow(codeVersion: "2"),
        ].map(\.contentVersion)
        #expect(Set(versions).count == versions.count)
    }

    @Test func raisingALimitStrandsNoRun() throws {
        let version = try Self.workflow().contentVersion
        #expect(try Self.workflow(timeout: .seconds(1)).contentVersion == version)
        #expect(try Self.workflow(retry: .fixed(2, delay: .seconds(1))).contentVersion == version)
        #expect(
            try Self.workflow(retry: .exponential(5, base: 3).retrying(when: .transientOnly)).contentVersion == version)
        #expect(try Self.workflow(description: "About it").contentVersion == version)
    }

    @Test func theVersionIsTheSameForTheSame() throws {
        let make = {
            try Self.workflow(
                retry: .exponential(2).retrying(when: .transientOnly),
                rule: .all([.taskFailed("root"), .contextValue("k", .equals, ["b": 1, "a": [nil]])]),
                timeout: .seconds(1.5), codeVersion: "7")
        }
        #expect(try make().contentVersion == make().contentVersion)
        // A dependency that is named twice is one.
        let twice = try Self.workflow(dependencies: ["first", "first"]).contentVersion
        #expect(try twice == Self.workflow().contentVersion)
    }
}
