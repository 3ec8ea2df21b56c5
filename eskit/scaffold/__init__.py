"""New projects, aggregates and projections from templates."""

from eskit.scaffold.plan import Plan as Plan
from eskit.scaffold.plan import PlannedFile as PlannedFile
from eskit.scaffold.project import new_project as new_project
from eskit.scaffold.project import project_templates as project_templates
