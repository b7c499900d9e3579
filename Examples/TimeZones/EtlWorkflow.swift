import Cloacina
import CloacinaPostgres
import FoundationEssentials

/// Extract, transform, load: the table of time zones into the tables of whichever tenant runs it.
enum EtlWorkflow {
    static let name = "time_zones"

    static func make(input: String) throws -> Workflow {
        try Workflow(self.name, description: "Loads the system's table of time zones") {
            WorkflowTask("extract") { context in
                guard let bytes = FileManager.default.contents(atPath: input) else {
                    throw ExampleError("can't read \(input); the package tzdata brings it")
                }
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw ExampleError("\(input) is not UTF-8")
                }
                try context.set("lines", to: ZoneTable.lines(of: text))
            }
            WorkflowTask("transform", after: "extract") { context in
                let lines = try context.get("lines", as: [ZoneLine].self)
                try context.set("table", to: ZoneTable(lines))
                context.remove("lines")
            }
            WorkflowTask("load", after: "transform") { context, scope in
                let table = try context.get("table", as: ZoneTable.self)
                let results = try await scope.withConnection { lease in
                    try await lease.pipeline(ZoneQueries.replace(with: table))
                }
                try context.set("rows_loaded", to: results[0].affectedRows + results[2].affectedRows)
                context.remove("table")
            }
        }
    }
}
