/// What a task's id or a workflow's name may be: what `Workflow` accepts when the program runs.
enum NameRule {
    /// How many bytes a name may have: `Workflow.maximumNameBytes`.
    static let maximumBytes = 255

    /// What keeps a text from being a name; nil when nothing does.
    static func objection(to text: String) -> String? {
        let bytes = text.utf8.count
        if bytes == 0 { return "is empty" }
        if bytes > self.maximumBytes { return "has \(bytes) bytes; \(self.maximumBytes) are the limit" }
        let colon = UInt8(ascii: ":")
        if zip(text.utf8, text.utf8.dropFirst()).contains(where: { $0 == colon && $1 == colon }) {
            return "holds \"::\", which separates the parts of a task's full name"
        }
        if text.utf8.first == colon || text.utf8.last == colon { return "begins or ends with \":\"" }
        if text.first?.isWhitespace == true || text.last?.isWhitespace == true { return "begins or ends with space" }
        return text.unicodeScalars.contains(where: self.isControl) ? "holds a control character" : nil
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
