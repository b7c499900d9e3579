import FoundationEssentials
import Testing

@testable import timezones_example

@Suite struct ReportTests {
    private static let reports = [
        TenantReport(
            tenant: "acme", schema: "acme", version: 1, rowsLoaded: 783,
            tasks: [.init(name: "extract", milliseconds: 4.25), .init(name: "load", milliseconds: 12)]),
        TenantReport(
            tenant: "globex_europe", schema: "globex_europe", version: 12, rowsLoaded: 1,
            tasks: [.init(name: "extract", milliseconds: 0.04), .init(name: "load", milliseconds: 1234.96)]),
    ]

    @Test func alignsNamesToTheLeftAndNumbersToTheRight() {
        #expect(
            Report.table(Self.reports) == """
                tenant         schema         version  rows loaded  extract ms  load ms
                ─────────────  ─────────────  ───────  ───────────  ──────────  ───────
                acme           acme                 1          783         4.3     12.0
                globex_europe  globex_europe       12            1         0.0   1235.0
                """
        )
    }

    @Test func jsonHoldsWhatTheTableShows() throws {
        let text = try Report.json(Self.reports)
        #expect(try JSONDecoder().decode([TenantReport].self, from: Data(text.utf8)) == Self.reports)
    }
}
