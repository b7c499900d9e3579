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
}
