/// Something that runs workflows by their names.
public protocol PipelineExecutor: Sendable {
    /// Runs a workflow to its end.
    ///
    /// - Returns: What came of it, for every way a pipeline can end: also when tasks failed, and when the caller was
    ///   cancelled while it ran here.
    /// - Throws: ``PipelineError`` when there is no such workflow or what happens can't be recorded.
    func execute(_ workflowName: String, context: Context) async throws(PipelineError) -> PipelineResult
}
