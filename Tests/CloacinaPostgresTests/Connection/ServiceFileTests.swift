import Testing

@testable import CloacinaPostgres

/// libpq lets nothing that a service file says override what it is given, so with one nothing is given.
@Suite struct ServiceFileTests {
    @Test(arguments: [
        ("service=app", true), ("postgresql:///?service=app", true), ("host=db user=service", false),
        ("postgresql://service@service/service", false), ("", false), ("service", false),
    ])
    func isNoticed(connectionString: String, namesService: Bool) {
        #expect(Connector.namesService(connectionString) == namesService)
    }

    @Test(arguments: [true, false]) func aloneDecidesHowAVanishedServerIsNoticed(hasService: Bool) {
        let names = Connector.parameters(PostgresConfiguration("dbname=app"), hasService: hasService).map(\.0)
        #expect(names.contains("tcp_user_timeout") != hasService)
        #expect(names.contains("keepalives_idle") != hasService)
        #expect(names.contains("dbname"))
    }
}
