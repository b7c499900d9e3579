import CloacinaPostgres

/// What others made of a tenant's things, outside its schema, and would lose with it.
struct RemovalDependents: Sendable, Hashable {
    /// The first few, as the server describes them.
    let names: [String]
    /// How many there are.
    let count: Int

    static let none = RemovalDependents(names: [], count: 0)

    init(names: [String], count: Int) {
        self.names = names
        self.count = count
    }

    /// Reads the rows of ``DependentQueries/dependents(of:roles:)``.
    init(_ rows: PostgresRows) throws {
        self.names = try rows.column("object")
        self.count = try rows.first?.value("total") ?? 0
    }

    /// Checks that nobody loses anything.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/dependentsExist``, which names the first few.
    func check(tenant: String) throws(AdminError) {
        guard self.count > 0 else { return }
        throw AdminError(
            .dependentsExist,
            "others' objects depend on the tenant's and would be dropped with them: \(self.description); "
                + "--cascade drops them as well", tenant: tenant)
    }
}

extension RemovalDependents: CustomStringConvertible {
    var description: String {
        let list = self.names.joined(separator: ", ")
        return self.count > self.names.count ? "\(list) and \(self.count - self.names.count) more" : list
    }
}
