/// What `--output json` and `ndjson` say of a command that failed: `{"error": {…}}`.
struct ErrorDocument: Encodable {
    let error: Failure

    init(_ failure: Failure) { self.error = failure }
}

extension Failure: Encodable {
    private enum CodingKeys: String, CodingKey {
        case code, message, detail, hint, tenant, step, sqlstate, complaints, exit
    }

    /// Writes every key, `null` where there is nothing to say. `exit` is null for a command that ends by a signal.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.code, forKey: .code)
        try container.encode(self.message, forKey: .message)
        try container.encode(self.detail, forKey: .detail)
        try container.encode(self.hint, forKey: .hint)
        try container.encode(self.tenant, forKey: .tenant)
        try container.encode(self.step, forKey: .step)
        try container.encode(self.sqlState, forKey: .sqlstate)
        try container.encode(self.complaints, forKey: .complaints)
        try container.encode(self.isInterruption ? nil : self.status.rawValue, forKey: .exit)
    }
}
