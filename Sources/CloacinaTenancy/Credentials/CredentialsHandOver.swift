/// Gives new credentials to whoever keeps them, before they are in force.
struct CredentialsHandOver<Credentials: Sendable> {
    let credentials: Credentials
    let tenant: String?

    /// Calls the caller's closure; what it throws becomes an ``AdminError`` with what the closure threw beneath.
    func run(_ keep: (Credentials) async throws -> Void) async throws {
        do {
            try await keep(self.credentials)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw AdminError(
                .handOverFailed, "the new credentials could not be kept, and are not in force; call again to go on",
                tenant: self.tenant, underlying: error)
        }
    }
}
