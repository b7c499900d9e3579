import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// Creation and removal that fail, or lose their connection, at each step and moment; then called again.
    @Suite(.timeLimit(.minutes(40))) struct TenantFaultTests {
        /// What happens at the fault point.
        enum Fault: String, Sendable, CaseIterable {
            /// The step throws.
            case error
            /// The administrator's backend is killed, as by a crash of either side.
            case cut
        }

        struct Injected: Error {}

        struct Case: Sendable, CustomTestStringConvertible {
            let step: OperationStep
            let moment: FaultPoints.Moment
            let fault: Fault
            var testDescription: String { "\(self.fault) \(self.moment) \(self.step)" }

            static func all(_ steps: [OperationStep]) -> [Case] {
                var cases: [Case] = []
                for step in steps {
                    for moment in FaultPoints.Moment.allCases {
                        for fault in Fault.allCases {
                            // With the last step done there is nothing left to cut.
                            if fault == .cut, moment == .after, step == steps.last { continue }
                            cases.append(Case(step: step, moment: moment, fault: fault))
                        }
                    }
                }
                return cases
            }

            /// Fails once, at this case's point.
            func points(_ administrator: String) -> FaultPoints {
                FaultPoints { step, moment in
                    guard step == self.step, moment == self.moment else { return }
                    if case .error = self.fault { throw Injected() }
                    try await TenantFixture.withSuperuser { connection in
                        let mine: PostgresStatement = """
                            SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name = \(administrator)
                            """
                        let killed: Int = try await connection.query(mine).single()
                        #expect(killed == 1)
                    }
                }
            }
        }

        private func administrator(_ name: String, _ faults: FaultPoints = .none) throws -> DatabaseAdmin {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.applicationName = name
            return DatabaseAdmin(configuration, patience: .seconds(5), faults: faults)
        }

        @Test(arguments: Case.all(OperationStep.creation))
        func creationThatBreaksOffIsFinishedOrUndone(at point: Case) async throws {
            let name = TenantFixture.name()
            let sets = try TenantFixture.sets()
            try await TenantFixture.withAdmin { admin in
                let faulty = try self.administrator(name, point.points(name))
                await #expect(throws: AdminError.self) {
                    try await faulty.createTenant(TenantFixture.config(name, sets: sets))
                }
                await faulty.close()
                let found = try await admin.tenants().first
                let traces = try await TenantFixture.traces(of: name)
                // All or nothing, and no reservation without a reason.
                #expect(traces.isEmpty || traces.count == 6)
                switch found?.state {
                case nil: #expect(traces.isEmpty)
                case .active: #expect(point.step == .deliver && point.moment == .after)
                case .creating:
                    #expect(point.fault == .cut || traces.count == 6)
                    let ledger = try await TenantFixture.ledger(of: name)
                    #expect(ledger.last?.hasPrefix("create") == true && ledger.last?.hasSuffix("done") == false)
                case .removing: Issue.record("a creation doesn't remove")
                }
                if found?.state == .active {
                    // Only the answer was lost: there is no telling that from a success.
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.createTenant(TenantFixture.config(name, sets: sets))
                    }
                    #expect(error?.code == .tenantExists)
                } else {
                    let credentials = try await admin.createTenant(TenantFixture.config(name, sets: sets))
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM items") }
                }
                #expect(try await admin.tenant(named: name).state == .active)
                try await admin.removeTenant(named: name)
                let open = try await TenantFixture.ledger(of: name).filter { $0.hasSuffix("started") }
                #expect(open.isEmpty)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test(arguments: Case.all(OperationStep.removal))
        func removalThatBreaksOffIsFinishedByASecondCall(at point: Case) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                let faulty = try self.administrator(name, point.points(name))
                await #expect(throws: AdminError.self) { try await faulty.removeTenant(named: name) }
                await faulty.close()
                let left = try await admin.tenants().first
                let isUntouched =
                    [.lock, .check].contains(point.step) || (point.step == .disable && point.moment == .before)
                let isDone = point.step == .prove && point.moment == .after
                #expect(left?.state == (isUntouched ? .active : isDone ? nil : .removing))
                if left?.state == .removing {
                    let ledger = try await TenantFixture.ledger(of: name)
                    #expect(ledger.last?.hasPrefix("remove") == true && ledger.last?.hasSuffix("done") == false)
                }
                if !isDone {
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.proof.allSatisfy { $0.remaining == 0 })
                }
                let open = try await TenantFixture.ledger(of: name).filter { $0.hasSuffix("started") }
                #expect(open.isEmpty)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test(arguments: OperationStep.creation)
        func aCancelledCreationLeavesNothingOrIsFinished(step: OperationStep) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let faults = FaultPoints { reached, moment in
                    if reached == step, moment == .before { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } }
                }
                let cancelled = try self.administrator(name, faults)
                let task = Task { try await cancelled.createTenant(TenantConfig(name: name)) }
                let result = await task.result
                #expect { try result.get() } throws: { ($0 as? AdminError)?.code == .cancelled }
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await admin.removeTenant(named: name)
                await cancelled.close()
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }
    }
}
