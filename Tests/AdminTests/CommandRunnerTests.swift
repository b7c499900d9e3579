import Testing

@testable import cloacina_admin

@Suite struct CommandRunnerTests {
    func run(_ arguments: [String]) async -> (CommandRunner.Outcome, Collector) {
        let collector = Collector()
        return (await CommandRunner(console: collector.console(terminal: false)).run(arguments), collector)
    }

    @Test(arguments: [
        ["nonsense"], ["dev", "nonsense"], ["dev", "start", "--output", "xml"],
        ["dev", "start", "--setting", "port=1"],
        ["dev", "start", "surplus"], ["dev", "stop", "--unknown"],
    ])
    func wrongArgumentsEndWithTwoAndAMessageOnStandardError(_ arguments: [String]) async {
        let (outcome, collector) = await self.run(arguments)
        #expect(outcome == CommandRunner.Outcome(status: 2))
        #expect(collector.notes.contains("Usage:"))
        #expect(collector.data.isEmpty)
    }

    @Test(arguments: [["--help"], ["dev", "--help"], ["help", "dev", "start"], []])
    func helpIsAnAnswer(_ arguments: [String]) async {
        let (outcome, collector) = await self.run(arguments)
        #expect(outcome == CommandRunner.Outcome(status: 0))
        #expect(collector.data.contains("USAGE:"))
        #expect(collector.notes.isEmpty)
    }

    @Test func helpNamesTheExitCodesAndTheCompletion() async {
        let (_, collector) = await self.run(["--help"])
        #expect(collector.data.contains("75 try again"))
        #expect(collector.data.contains("--generate-completion-script"))
    }

    @Test func completionIsAnAnswer() async {
        let (outcome, collector) = await self.run(["--generate-completion-script", "bash"])
        #expect(outcome.status == 0)
        #expect(collector.data.hasPrefix("#!/bin/bash"))
    }
}
