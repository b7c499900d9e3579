import FoundationEssentials

/// What one tenant's pipeline did.
struct TenantReport: Codable, Sendable, Hashable {
    struct TaskTime: Codable, Sendable, Hashable {
        var name: String
        var milliseconds: Double
    }

    var tenant: String
    var schema: String
    /// The newest migration of the tenant's schema.
    var version: Int
    var rowsLoaded: Int
    var tasks: [TaskTime]
}

/// Renders reports for people and for programs.
enum Report {
    /// One JSON array, the keys sorted.
    static func json(_ reports: [TenantReport]) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(reports), as: UTF8.self)
    }

    /// A table with one line per tenant and one column per task; numbers are aligned to the right.
    static func table(_ reports: [TenantReport]) -> String {
        let tasks = reports.first?.tasks.map(\.name) ?? []
        var lines = [["tenant", "schema", "version", "rows loaded"] + tasks.map { "\($0) ms" }]
        for report in reports {
            lines.append(
                [report.tenant, report.schema, "\(report.version)", "\(report.rowsLoaded)"]
                    + report.tasks.map { self.rounded($0.milliseconds) }
            )
        }
        let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        let rule = widths.map { String(repeating: "─", count: $0) }
        return (lines.prefix(1) + [rule] + lines.dropFirst())
            .map { cells in self.line(cells, widths: widths) }
            .joined(separator: "\n")
    }

    private static func line(_ cells: [String], widths: [Int]) -> String {
        let padded = zip(cells, widths).enumerated().map { column, cell in
            let space = String(repeating: " ", count: cell.1 - cell.0.count)
            return column < 2 ? cell.0 + space : space + cell.0
        }
        return padded.joined(separator: "  ")
    }

    private static func rounded(_ milliseconds: Double) -> String {
        guard let tenths = Int(exactly: (milliseconds * 10).rounded()) else { return "-" }
        return "\(tenths / 10).\(tenths % 10)"
    }
}
