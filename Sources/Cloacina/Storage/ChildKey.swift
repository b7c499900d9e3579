import FoundationEssentials

/// The idempotency key of a child: which beginning of which child of which task of its parent it is.
package enum ChildKey {
    /// The lengths keep apart what names with a slash in them would mix up.
    static func make(parent: UUID, number: Int, task: String, name: String) -> String {
        "\(parent)/\(number)/\(task.utf8.count)/\(task)/\(name)"
    }
}
