package import FoundationEssentials

/// The owner and the place of a pipeline: all that decides if a change of it would be stored, and nothing that may be large.
package struct PipelineStanding: Sendable, Hashable {
    package var status: PipelineStatus
    package var revision: Int
    package var epoch: Int
    package var owner: UUID?

    package init(status: PipelineStatus, revision: Int, epoch: Int, owner: UUID?) {
        self.status = status
        self.revision = revision
        self.epoch = epoch
        self.owner = owner
    }
}
