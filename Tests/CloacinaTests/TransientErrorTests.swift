import CloacinaPostgres
import Testing

@testable import Cloacina

/// What is worth trying again.
@Suite struct TransientErrorTests {
    @Test(arguments: [
        (PostgresError.Code.connectionFailed, nil, true), (.connectionFailed, "53300", true),
        (.connectionFailed, "57P03", true), (.connectionFailed, "28P01", false), (.connectionFailed, "28000", false),
        (.connectionFailed, "3D000", false), (.connectionFailed, "42501", false), (.connectionLost, nil, true),
        (.rejectedByServer, "40001", true), (.rejectedByServer, "25006", true), (.rejectedByServer, "55P03", true),
        (.rejectedByServer, "23505", false),
        (.rejectedByServer, "53100", true), (.cancelled, nil, false), (.poolShutDown, nil, false),
    ])
    func aRefusalForGoodIsNotTriedAgain(code: PostgresError.Code, state: String?, isTransient: Bool) {
        let error = PostgresError(code, sqlState: state)
        #expect(error.isTransient == isTransient)
        #expect(PipelineError(.storageFailed, "x", underlying: error).isTransient == isTransient)
        #expect(!PipelineError(.takenOver, "x", underlying: error).isTransient)
    }

    /// A server that ends statements after a time of its own does so each time: that is a refusal (engine fault A5).
    @Test func whatAServersOwnTimeoutEndsThreeTimesInARowIsRefused() throws {
        let timeout = PipelineError(
            .storageFailed, "x", underlying: PostgresError(.rejectedByServer, sqlState: "57014"))
        let lost = PipelineError(.storageFailed, "x", underlying: PostgresError(.connectionLost))
        var retry = DatabaseRetry()
        for _ in 0..<5 {
            _ = try retry.pause(after: timeout)
            _ = try retry.pause(after: timeout)
            _ = try retry.pause(after: lost)
        }
        _ = try retry.pause(after: timeout)
        _ = try retry.pause(after: timeout)
        let error = #expect(throws: PipelineError.self) { try retry.pause(after: timeout) }
        #expect(error?.isRefusal == true && error?.isTransient == false)
    }

    /// A server that is overloaded for a while ends many statements in a row.
    @Test func aServersOwnTimeoutsAreBorneForAsLongAsTheRunnersPatienceLasts() throws {
        let timeout = PipelineError(
            .storageFailed, "x", underlying: PostgresError(.rejectedByServer, sqlState: "57014"))
        var retry = DatabaseRetry(patience: .seconds(30))
        for second in 0..<30 { _ = try retry.pause(after: timeout, elapsed: .seconds(second)) }
        let error = #expect(throws: PipelineError.self) { try retry.pause(after: timeout, elapsed: .seconds(30)) }
        #expect(error?.isRefusal == true)
    }
}
