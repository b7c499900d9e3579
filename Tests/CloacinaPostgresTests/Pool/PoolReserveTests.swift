import Testing

@testable import CloacinaPostgres

/// The connections beside the budget.
@Suite struct PoolReserveTests {
    @Test(arguments: [(1, 1), (4, 1), (8, 2), (10, 2), (16, 4), (1_000, 4), (.max, 4)])
    func theReserveGrowsWithTheBudget(budget: Int, reserve: Int) {
        var configuration = PostgresPoolConfiguration(PostgresConfiguration())
        configuration.maximumConnections = budget
        #expect(configuration.reservedConnections == reserve)
    }
}
