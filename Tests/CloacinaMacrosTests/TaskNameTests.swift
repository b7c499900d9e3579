import Testing

@testable import CloacinaMacros

/// Functions whose names differ from their tasks' ids, as in the seed's samples.
@Suite struct TaskNameTests {
    private static let etl = """
        @Workflow(name: "etl_pipeline", description: "Extract, Transform, Load pipeline") struct ETL {
            @Task(id: "extract") func extractData(_ context: inout Context) {}
            @Task(id: "transform", dependencies: ["DEPENDENCY"]) func transformData(_ context: inout Context) {}
            @Task(id: "load", dependencies: ["transform"]) func loadData(_ context: inout Context) {}
        }
        """

    @Test func tasksAreCalledByTheirIds() {
        let expansion = Expansion(of: Self.etl.replacing("DEPENDENCY", with: "extract"))
        #expect(expansion.diagnostics == [])
        for part in ["\"extract\"", "\"transform\"", "\"load\"", "extractData(", "transformData(", "loadData("] {
            #expect(expansion.text.contains(part))
        }
        #expect(!expansion.text.contains("\"extractData\""))
    }

    @Test func aFunctionsNameIsNoDependency() {
        let expansion = Expansion(of: Self.etl.replacing("DEPENDENCY", with: "extractData"))
        #expect(expansion.diagnostics.count == 1)
        #expect(
            expansion.diagnostics.first?.contains(" workflow \"etl_pipeline\" has no task \"extractData\"") == true)
    }

    @Test func aFunctionsNameIsNoTaskOfARule() {
        let source = """
            @Workflow(name: "w") struct W {
                @Task(id: "charge") func chargeCard(_ context: inout Context) {}
                @Task(id: "refund", dependencies: ["charge"], triggerRules: .taskFailed("chargeCard"))
                func refundCard(_ context: inout Context) {}
            }
            """
        let expansion = Expansion(of: source)
        #expect(expansion.diagnostics.count == 1)
        #expect(expansion.diagnostics.first?.contains("workflow \"w\" has no task \"chargeCard\"") == true)
    }

    @Test func twoFunctionsMayNotShareAnId() {
        let source = """
            @Workflow(name: "w") struct W {
                @Task(id: "load") func loadRows(_ context: inout Context) {}
                @Task(id: "load") func loadFiles(_ context: inout Context) {}
            }
            """
        #expect(
            Expansion(of: source).diagnostics
                == ["3:15 two tasks are called \"load\" (2:15 \"load\" is used here first)"])
    }
}
