/// Where a test can make an operation fail, or kill what it depends on.
///
/// Production code has none, so each point costs the look at a `nil`.
package struct FaultPoints: Sendable {
    /// On which side of a step.
    package enum Moment: String, Sendable, CaseIterable {
        case before, after
    }

    private let reach: (@Sendable (OperationStep, Moment) async throws -> Void)?

    /// No faults.
    package static let none = FaultPoints(reach: nil)

    private init(reach: (@Sendable (OperationStep, Moment) async throws -> Void)?) {
        self.reach = reach
    }

    /// Calls a closure before and after each step; what it throws, the step throws.
    package init(_ reach: @escaping @Sendable (OperationStep, Moment) async throws -> Void) {
        self.reach = reach
    }

    /// Runs a step between its two points.
    func around<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        guard let reach else { return try await body() }
        try await reach(step, .before)
        let result = try await body()
        try await reach(step, .after)
        return result
    }
}

/// The steps of creating and removing a tenant and of making new credentials, by the names that the ledger uses.
package enum OperationStep: String, Sendable, CaseIterable {
    // Creating. `roles` to `register` are one transaction, which the ledger calls `provision`; each of the application's files is
    // one of its own.
    case lock, reserve, provision, roles, schema, migrate, register, files, handOver = "hand_over", password, deliver
    // Making new credentials; `password` stands for all of it in the ledger.
    case open, repair
    // Removing. The first changes nothing; each of the others is a transaction of its own, or several.
    case check, disable, sessions, prepared, largeObjects = "large_objects", dropSchema = "drop_schema"
    case dropOwned = "drop_owned", elsewhere, dropRoles = "drop_roles", prove
    // Adopting.
    case adopt

    /// The steps of creating a tenant, in order.
    package static let creation: [OperationStep] = [
        .lock, .reserve, .provision, .roles, .schema, .migrate, .register, .files, .handOver, .password, .deliver,
    ]
    /// The steps of making new credentials, in order.
    package static let reissue: [OperationStep] = [
        .lock, .open, .handOver, .repair, .password, .deliver, .sessions,
    ]
    /// The steps of removing a tenant, in order.
    package static let removal: [OperationStep] = [
        .lock, .check, .disable, .sessions, .prepared, .largeObjects, .dropSchema, .dropOwned, .elsewhere, .dropRoles,
        .prove,
    ]
}
