"""The reference API: the method in parts, to compare another implementation with this one.

    from structalign.learning.reference.settings import settings_from
    from structalign.learning.reference.towers import ReferenceModel, frame_embeddings
    from structalign.learning.reference.training import Training, train

    settings = settings_from("msrvtt-10", "released", task=2)
    model = ReferenceModel(state, clip_config, settings.model_config)
    frames = frame_embeddings(model, pixels)  # [B, 12, 512]
    trained = train(model, Training(settings, steps, updates=6400, teacher=None))
    trained.steps[0].unweighted["crp"], trained.gradients

`towers` has embeddings, gates and router logits. `settings` has the settings of a task by presets. `training` has
losses, gradients and steps. All run the pipeline's code on the CPU, in the precision of the state dict. They refuse bad
input with a `UserError`. Parts that need no state dict are pure functions elsewhere; docs/methods.md lists all of them.
"""
