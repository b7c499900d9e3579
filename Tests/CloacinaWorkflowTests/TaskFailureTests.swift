import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

private struct TextError: Error, CustomStringConvertible {
    let description: String
}

private enum GatewayError: Error {
    case timedOut, connectionLost, HTTPTimeout, rateLimitExceeded(limit: Int), wrongAmount, declined(reason: String)
}

private struct RateLimited: TransientError {
    let retryAfter: Duration?
}

private struct Refused: TransientError, CustomStringConvertible {
    let isTransient = false
    let description = "connection refused, for good"
}

@Suite struct TaskFailureTests {
    @Test(
        "H3: the seed has two lists of what is transient; each word of both counts",
        arguments: [
            "Timeout", "the operation timed out", "connection refused", "Network is down", "temporary failure",
            "service UNAVAILABLE", "device busy", "server overloaded", "rate limit reached",
        ])
    func knowsWhatEitherListOfTheSeedHas(text: String) {
        #expect(TaskFailure(TextError(description: text)).isTransient)
    }

    @Test(arguments: [
        "server closed the connection unexpectedly", "could not connect to server", "Connection reset by peer",
        "write: broken pipe", "read: ECONNRESET (104)", "RESOURCE_EXHAUSTED: quota", "429 Too Many Requests",
        "sorry, too many clients already", "database is locked", "deadlock detected", "please try again later",
        "could not serialize access due to concurrent update", "context deadline exceeded", "time-out",
        "temporarily out of order",
    ])
    func knowsWhatPasses(text: String) {
        #expect(TaskFailure(TextError(description: text)).isTransient)
    }

    @Test(arguments: [
        "", "no such file", "busyness", "the networked drive", "contemporary", "interconnections", "ratelimits",
        "permission denied", "timeoutish", "unique constraint violated", "rate of limits",
    ])
    func wholeWordsCount(text: String) {
        #expect(!TaskFailure(TextError(description: text)).isTransient)
    }

    @Test func readsTheNamesOfCases() {
        let transient: [GatewayError] = [.timedOut, .connectionLost, .HTTPTimeout, .rateLimitExceeded(limit: 3)]
        for error in transient { #expect(TaskFailure(error).isTransient, "\(error)") }
        #expect(!TaskFailure(GatewayError.wrongAmount).isTransient)
        #expect(!TaskFailure(GatewayError.declined(reason: "card")).isTransient)
    }

    @Test func anErrorHasTheLastWordOnItself() {
        let limited = TaskFailure(RateLimited(retryAfter: .seconds(30)))
        #expect(limited.isTransient && limited.retryAfter == .seconds(30))
        let refused = TaskFailure(Refused())
        #expect(!refused.isTransient && refused.retryAfter == nil)
        let erased: any Error = RateLimited(retryAfter: nil)
        #expect(TaskFailure(erased).isTransient)
    }

    @Test func wrongDataIsNeverTransient() throws {
        let missing = try #require(throws: WorkflowError.self) { try Context().get("connection", as: Int.self) }
        #expect(!TaskFailure(missing).isTransient)
        let decoding = DecodingError.dataCorrupted(.init(codingPath: [], debugDescription: "timeout"))
        #expect(!TaskFailure(decoding).isTransient)
        let encoding = EncodingError.invalidValue(1, .init(codingPath: [], debugDescription: "network"))
        #expect(!TaskFailure(encoding).isTransient)
        #expect(!TaskFailure(CancellationError()).isTransient)
    }

    @Test func aTaskThatRanOutOfTimeIsTransient() {
        let failure = TaskFailure.timedOut(after: .seconds(300))
        #expect(failure.isTransient && failure.text.contains("300"))
    }

    @Test("H4: the seed's failures show no message")
    func keepsTheErrorsText() {
        let failure = TaskFailure(GatewayError.declined(reason: "no funds"))
        #expect(failure.text == #"declined(reason: "no funds")"#)
        #expect(failure.typeName == "GatewayError")
        #expect(failure.description == #"GatewayError: declined(reason: "no funds")"#)
    }

    @Test(arguments: ["x", "é", "🇩🇪", "\u{10FFFF}"])
    func cutsLongTextsBetweenCharacters(part: String) {
        let failure = TaskFailure(TextError(description: "-" + String(repeating: part, count: 10_000)))
        #expect(failure.text.utf8.count <= TaskFailure.maximumTextBytes + 3)
        #expect(failure.text.utf8.count > TaskFailure.maximumTextBytes - 4)
        #expect(failure.text.hasSuffix("…") && !failure.text.contains("\u{FFFD}"))
    }

    @Test func leavesOutWhatNoDatabaseTakes() {
        #expect(TaskFailure(TextError(description: "a\0b")).text == "a\u{FFFD}b")
        #expect(TaskFailure(TextError(description: String(repeating: "\0", count: 4_000))).text.utf8.count < 4_100)
        #expect(TaskFailure(text: "\0", typeName: "T", isTransient: false).text == "\u{FFFD}")
    }
}
