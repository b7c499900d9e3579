import Testing

@testable import CloacinaPostgres

@Suite struct LabelBindingTests {
    enum Event: Sendable {
        case bind(String, inTransaction: Bool)
        case failBinding
        case foreignSQL(lease: UInt64)
        case end(committed: Bool)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let events: [Event]
        /// Whether lease 1 of tenant a has to bind, then whether lease 2 of tenant a has.
        let needs: (first: Bool, next: Bool)
    }

    static let cases: [Case] = [
        Case(testDescription: "new", events: [], needs: (true, true)),
        Case(testDescription: "bound", events: [.bind("a", inTransaction: false)], needs: (false, false)),
        Case(testDescription: "another label", events: [.bind("b", inTransaction: false)], needs: (true, true)),
        Case(testDescription: "failed", events: [.bind("a", inTransaction: false), .failBinding], needs: (true, true)),
        Case(
            testDescription: "the caller's own SQL ran",
            events: [.bind("a", inTransaction: false), .foreignSQL(lease: 1)],
            needs: (false, true)),
        Case(
            testDescription: "another lease's SQL ran",
            events: [.bind("a", inTransaction: false), .foreignSQL(lease: 2)],
            needs: (true, false)),
        Case(
            testDescription: "confirmed again",
            events: [.bind("a", inTransaction: false), .foreignSQL(lease: 2), .bind("a", inTransaction: false)],
            needs: (false, false)),
        Case(
            testDescription: "set in a transaction that committed",
            events: [.bind("a", inTransaction: true), .end(committed: true)], needs: (false, false)),
        Case(
            testDescription: "set in a transaction that was rolled back",
            events: [.bind("a", inTransaction: true), .end(committed: false)], needs: (true, true)),
        Case(
            testDescription: "set before a transaction that was rolled back",
            events: [.bind("a", inTransaction: false), .end(committed: false)], needs: (false, false)),
        Case(
            testDescription: "committed, then another was rolled back",
            events: [.bind("a", inTransaction: true), .end(committed: true), .end(committed: false)],
            needs: (false, false)),
    ]

    @Test(arguments: cases) func bindsWheneverTheLabelIsNotCertain(testCase: Case) {
        var binding = LabelBinding()
        for event in testCase.events {
            switch event {
            case .bind(let schema, let inTransaction):
                binding.didBind(PostgresLabel(schema: schema), inTransaction: inTransaction)
            case .failBinding: binding.didFailWhileBinding()
            case .foreignSQL(let lease): binding.didRunForeignSQL(in: lease)
            case .end(let committed): binding.didEndTransaction(committed: committed)
            }
        }
        let label = PostgresLabel(schema: "a")
        #expect(binding.needsBinding(for: LeaseScope(label: label, number: 1)) == testCase.needs.first)
        #expect(binding.needsBinding(for: LeaseScope(label: label, number: 2)) == testCase.needs.next)
        #expect(binding.needsBinding(for: LeaseScope(label: PostgresLabel(schema: "a", role: "r"), number: 1)))
    }

    @Test func theStatementQualifiesEveryName() {
        let statement = LabelBinding.statement(for: PostgresLabel(schema: "o\"dd", role: "r"))
        let calls = statement.sql.split(separator: " ").filter { $0.contains("(") || $0.contains("::") }
        for call in calls {
            #expect(call.contains("pg_catalog."), "\(call) would be looked up in the last tenant's path")
        }
        #expect(statement.binds == [.text("\"o\"\"dd\""), .text("\"o\"\"dd\", pg_temp"), .text("r"), .null, .null])
    }

    @Test func theStatementCarriesTheLockTimeoutAndTheBackend() {
        let statement = LabelBinding.statement(
            for: PostgresLabel(schema: "a"), lockTimeout: .milliseconds(250), backendPID: 7, prepared: false)
        #expect(statement.binds.suffix(2) == [.text("250"), .int32(7)])
        #expect(!statement.isPrepared)
    }

    @Test func aLabelThatWasForgottenIsBoundAgain() {
        var binding = LabelBinding()
        let scope = LeaseScope(label: PostgresLabel(schema: "a"), number: 1)
        binding.didBind(scope.label, inTransaction: false)
        binding.forget()
        #expect(binding.needsBinding(for: scope))
    }

    @Test(arguments: [
        (PostgresLabel(schema: "a"), true), (PostgresLabel(schema: "a", role: "r"), true),
        (PostgresLabel(schema: String(repeating: "x", count: 63)), true),
        (PostgresLabel(schema: String(repeating: "ü", count: 32)), false), (PostgresLabel(schema: ""), false),
        (PostgresLabel(schema: "a\0b"), false), (PostgresLabel(schema: "a", role: "r\0"), false),
        (PostgresLabel(schema: "a", role: "none"), false), (PostgresLabel(schema: "a", role: ""), false),
    ])
    func onlyNamesThatPostgresReadsAsTheyAreBecomeLabels(label: PostgresLabel, isFaithful: Bool) {
        #expect(LabelBinding.isFaithful(label) == isFaithful)
    }
}
